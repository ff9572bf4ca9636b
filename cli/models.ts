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
    const listed: Described[] = [];
    for (const one of await findAll()) {
      throwIfStopped(io);
      listed.push(await describe(one));
      records.write({ type: "model", ...listed.at(-1) });
    }
    print(listed, terminal);
  });
}

interface Found {
  /** As --model takes it. */
  readonly name: string;
  readonly bytes: number;
  /** null where there is nothing to open. */
  readonly path: string | null;
}

type Described = Found &
  ({ readonly family: string; readonly end_tokens: string[] } | { readonly error: string });

async function findAll(): Promise<Found[]> {
  const all: Found[] = [];
  for (const [name, file] of Object.entries(NAMED_MODELS)) {
    const path = join(cacheFolder(), file);
    if ((await whatIs(path)) === "file") all.push({ name, path, bytes: (await stat(path)).size });
  }
  for (const repo of await cachedRepos()) {
    const found = new Map<string, Found>();
    for (const { folder, files, readIndex } of await snapshots(repo))
      for (const { files: own, gguf } of await modelsIn(repo, files, readIndex)) {
        const name = gguf === null ? repo : `${repo}:${gguf.path}`;
        if (!found.has(name))
          found.set(name, { name, path: join(folder, gguf?.path ?? ""), bytes: bytesOf(own) });
      }
    const nothing = { name: repo, path: null, bytes: await sizeOf(repoFolder(repo)) };
    all.push(...(found.size === 0 ? [nothing] : found.values()));
  }
  return all;
}

async function describe(found: Found): Promise<Described> {
  if (found.path === null)
    return {
      ...found,
      error: "nothing in it that templora opens, or not all of it; templora pull completes it",
    };
  try {
    await using files = await openModelFiles(found.path);
    const { family, tokenizer } = files;
    const end_tokens = tokenizer.eosIds.map((id) => tokenizer.decode([id]) || `id ${id}`);
    return { ...found, family: family.model_type, end_tokens };
  } catch (error) {
    if (!(error instanceof BadInputError)) throw error;
    return { ...found, error: error.message };
  }
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
  const all = await findAll();
  const own = Object.hasOwn(NAMED_MODELS, name) ? all.find((one) => one.name === name) : undefined;
  if (own?.path) {
    await rm(own.path);
    return own.bytes;
  }
  const asked = hubName(name);
  if (asked && (await cachedRepos()).includes(asked.repo)) {
    if (asked.wanted === undefined) return removeRepo(asked.repo);
    for (const { files, readIndex } of await snapshots(asked.repo)) {
      const found = await choose(asked, files, readIndex);
      if (found)
        return removeFiles(
          asked.repo,
          found.files.map(({ path }) => path),
        );
    }
  }
  const names = all.map((one) => one.name);
  throw new BadInputError(
    `--remove ${name}: no such model${nearest(name, names)}; templora models lists them`,
  );
}
