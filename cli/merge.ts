/** `templora merge`: writes a model with an adapter in it. */
import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { BadInputError } from "../engine/errors.ts";
import { whatIs } from "../model/file.ts";
import {
  type FolderFormat,
  type GgufFormat,
  folderFormats,
  ggufFormats,
  mergeIntoFolder,
  mergeIntoGguf,
} from "../templora/merge.ts";
import { openAdapter } from "./adapters.ts";
import { writeError } from "./errors.ts";
import { assertDistinct, assertWritable, locate } from "./files.ts";
import { type Define, type ModelOptions, addModelOption, addQuietOption } from "./options.ts";
import type { Io } from "./output.ts";
import { choice } from "./parsers.ts";
import { bytesDone, openModel, openTerminal, throwIfStopped } from "./session.ts";

interface MergeOptions extends ModelOptions {
  readonly loadAdapter?: string;
  readonly out?: string;
  readonly format?: FolderFormat | GgufFormat;
  readonly quiet?: boolean;
}

const inGguf = Object.keys(ggufFormats) as GgufFormat[];

export const merge: Define = (command, io) => {
  command.description(
    "Writes a model whose weights have an adapter in them, w + scale · B·A: a Hugging Face folder as such a folder, with the " +
      "configuration and tokenizer beside the weights; a GGUF model as a .gguf file, with its metadata.",
  );
  addQuietOption(
    addModelOption(command)
      .option("--load-adapter <folder>", "the adapter, in peft's format")
      .option("--out <place>", "where the merged model goes: a new or empty folder, or a .gguf file")
      .option(
        "--format <format>",
        `of the weights: ${folderFormats.join(" or ")} in a folder (default: bf16 where all of the model's are, else f32); ` +
          `${inGguf.join(", ")} in a .gguf file (default: F16)`,
        choice("--format", [...folderFormats, ...inGguf]),
      ),
  )
    .addHelpText(
      "after",
      "\nExample:\n  templora merge --model ./my-llama --load-adapter book-adapter --out ./my-llama-book\n  templora merge --model smollm2-135m --load-adapter book-adapter --format Q8_0 --out book.gguf\n",
    )
    .action((options: MergeOptions) => run(options, io));
};

async function run(options: MergeOptions, io: Io): Promise<void> {
  const { loadAdapter, out: place } = options;
  if (place === undefined) throw new BadInputError("--out is missing: name a place for the merged model");
  await using modelFiles = await openModel(options, io);
  const adapter = await openAdapter({ loadAdapter, templora: true }, modelFiles);
  if (!adapter) throw new BadInputError("--load-adapter is missing: name an adapter's folder");
  const { source, paths, tensors } = modelFiles;
  const folder = (await whatIs(source)) === "folder";
  if (folder === place.endsWith(".gguf"))
    throw new BadInputError(
      folder
        ? `--out ${place}: ${source} is a Hugging Face folder, and so is what it is merged into; name a folder`
        : `--out ${place}: ${source} is in GGUF, and so is what it is merged into; name a .gguf file`,
    );
  const allBf16 = [...tensors.values()].every(({ dtype }) => dtype === "bf16");
  const { format = !folder ? "F16" : allBf16 ? "bf16" : "f32" } = options;
  const toFolder = folder ? folderFormats.find((one) => one === format) : undefined;
  const toGguf = folder ? undefined : inGguf.find((one) => one === format);
  if (!toFolder && !toGguf)
    throw new BadInputError(
      `--format ${format}: this model can be merged into ${(folder ? folderFormats : inGguf).join(", ")}`,
    );
  assertDistinct(
    { "--out": folder ? join(place, "model.safetensors") : place },
    {
      ...Object.fromEntries(paths.map((path) => [`--model (${path})`, path])),
      ...{ "--load-adapter": loadAdapter, "--model": source },
    },
  );
  const isNew = await takePlace(place, folder);
  using terminal = openTerminal({ quiet: options.quiet === true }, io);
  const onProgress = (done: number, total: number): void => {
    throwIfStopped(io);
    bytesDone(terminal, "merging", done, total);
  };
  try {
    if (toFolder) await mergeIntoFolder(modelFiles, adapter, place, toFolder, onProgress);
    if (toGguf) await mergeIntoGguf(modelFiles, adapter, locate(place).path, toGguf, onProgress);
  } catch (error) {
    if (isNew && readdirSync(place).length === 0) rmdirSync(place);
    throw error instanceof Error && "syscall" in error ? writeError(place, error) : error;
  }
  terminal.endProgress();
  terminal.note(`the merged model is in ${place}, in ${format}`);
}

/** Makes the folder, or takes an empty one, or finds out that the file can be written; whether a folder was made. */
async function takePlace(place: string, folder: boolean): Promise<boolean> {
  const kind = folder ? await whatIs(place) : null;
  if (kind === "file" || (kind === "folder" && readdirSync(place).length > 0))
    throw new BadInputError(`${place}: --out takes a new folder or an empty one; name another`);
  try {
    if (!folder) {
      const { path, regular } = locate(place);
      if (!regular)
        throw new BadInputError(`${place}: --out takes a .gguf file, which this is not; name another`);
      assertWritable(path);
    }
    if (kind === "nothing") mkdirSync(place);
    return kind === "nothing";
  } catch (error) {
    throw error instanceof BadInputError ? error : writeError(place, error);
  }
}
