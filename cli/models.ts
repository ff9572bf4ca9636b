/** `templora models`: what is in the cache, and the way to remove it. */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { whatIs } from "../model/file.ts";
import { NAMED_MODELS, openModelFiles } from "../model/model_files.ts";
import { keeping, openRecords } from "./files.ts";
import { bytes, table } from "./format.ts";
import {
  cachedRepos,
  hubFolder,
  removeFiles,
  removeRepo,
  repoFolder,
  sizeOf,
  snapshots,
} from "./hub/cache.ts";
import { bytesOf, choose, hubName, models as modelsIn } from "./hub/choose.ts";
import { nearest } from "./nearest.ts";
import { type CommonOptions, type Define, addOutputOptions } from "./options.ts";
import type { Io, Terminal } from "./output.ts";
import { openTerminal, throwIfStopped } from "./session.ts";

interface ModelsOptions extends Pick<CommonOptions, "json" | "quiet"> {
  readonly remove?: string;
}

export const models: Define = (command, io) => {
  command
    .description(
      "Lists the models that --model finds by name: those of the hub's cache, whoever pulled them, with their size, family and " +
        "end tokens; those that templora does not open, with the reason.",
    )
    .option(
      "--remove <name>",
      "remove a model: ORG/NAME with all its files, or one .gguf file of it, as in the list",
    );
  addOutputOptions(command)
    .addHelpText("after", "\nExample:\n  templora models --remove Qwen/Qwen3-0.6B-GGUF\n")
    .action((options: ModelsOptions) => run(options, io));
};

async function run(options: ModelsOptions, io: Io): Promise<void> {
  using terminal = openTerminal(options, io);
  using records = await openRecords(options.json, io, terminal);
  await keeping([records.file], terminal, async () => {
    if (options.remove !== undefined) {
      const freed = await remove(options.remove);
      records.write({ type: "removed", name: options.remove, bytes: freed });
      terminal.result(`${options.remove}: removed, ${bytes(freed)} freed\n`);
      return;
    }
    const listed = await describeAll(io);
    for (const model of listed) records.write({ type: "model", ...model });
    print(listed, terminal);
  });
}

interface Found {
  /** As --model takes it. */
  readonly name: string;
  readonly bytes: number;
  readonly path: string;
}

type Described = Omit<Found, "path"> &
  (
    | { readonly path: string; readonly family: string; readonly end_tokens: string[] }
    | { readonly error: string }
  );

async function describeAll(io: Io): Promise<Described[]> {
  const all: Described[] = [];
  for (const [name, file] of Object.entries(NAMED_MODELS)) {
    const path = join(cacheFolder(), file);
    if ((await whatIs(path)) === "file")
      all.push(await describe({ name, path, bytes: (await stat(path)).size }));
  }
  for (const repo of await cachedRepos()) {
    throwIfStopped(io);
    try {
      const found = await findIn(repo);
      if (found.length === 0) throw new BadInputError("no model that templora opens, or not all of it");
      for (const one of found) all.push(await describe(one));
    } catch (error) {
      all.push({ name: repo, bytes: await sizeOf(repoFolder(repo)), error: inWords(error) });
    }
  }
  return all;
}

/** The models of a repository that are whole. */
async function findIn(repo: string): Promise<Found[]> {
  const found = new Map<string, Found>();
  for (const { folder, files, readIndex } of await snapshots(repo))
    for (const { files: own, gguf } of await modelsIn(repo, files, readIndex)) {
      const name = gguf === null ? repo : `${repo}:${gguf.path}`;
      if (!found.has(name))
        found.set(name, { name, path: join(folder, gguf?.path ?? ""), bytes: bytesOf(own) });
    }
  return [...found.values()];
}

async function describe(found: Found): Promise<Described> {
  try {
    await using files = await openModelFiles(found.path);
    const { family, tokenizer } = files;
    const end_tokens = tokenizer.eosIds.map((id) => tokenizer.decode([id]) || `id ${id}`);
    return { ...found, family: family.model_type, end_tokens };
  } catch (error) {
    return { ...found, error: inWords(error) };
  }
}

function inWords(error: unknown): string {
  if (error instanceof BadInputError) return error.message;
  throw error;
}

function print(listed: readonly Described[], terminal: Terminal): void {
  const opened = listed.flatMap((model) => ("family" in model ? [model] : []));
  const others = listed.flatMap((model) => ("error" in model ? [model] : []));
  if (opened.length > 0) {
    const rows = opened.map((one) => [one.name, bytes(one.bytes), one.family, one.end_tokens.join(" ")]);
    terminal.result(table([["model", "size", "family", "ends with"], ...rows]));
  } else terminal.result(`no model in ${hubFolder()} nor in ${cacheFolder()}; templora pull fetches one\n`);
  if (others.length > 0) terminal.result("\nnot opened:\n");
  for (const { name, bytes: size, error } of others) terminal.result(`${name} (${bytes(size)}): ${error}\n`);
}

/** Returns the bytes freed. */
async function remove(name: string): Promise<number> {
  for (const [named, file] of Object.entries(NAMED_MODELS)) {
    const path = join(cacheFolder(), file);
    if (named !== name || (await whatIs(path)) !== "file") continue;
    const { size } = await stat(path);
    await rm(path);
    return size;
  }
  const repos = await cachedRepos();
  if (repos.includes(name)) return removeRepo(name);
  const asked = hubName(name);
  for (const { files, readIndex } of asked ? await snapshots(asked.repo) : []) {
    const found = asked && (await choose(asked, files, readIndex));
    if (found)
      return removeFiles(
        asked.repo,
        found.files.map(({ path }) => path),
      );
  }
  throw new BadInputError(
    `--remove ${name}: no such model${nearest(name, repos)}; templora models lists them`,
  );
}
