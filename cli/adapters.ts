/** Adapters as files: the flags, what a run begins with, and what it leaves (docs/adapters.md). */
import { mkdirSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { BadInputError } from "../engine/errors.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { CONFIG, TENSORS, assertAdapterPlace, readAdapter } from "../templora/adapter_file.ts";
import { saveAdapter } from "../templora/adapters.ts";
import type { Adapt } from "../templora/config.ts";
import { NOT_KEPT } from "../templora/deltas.ts";
import type { Keeper } from "../templora/keeping.ts";
import { modulesOf } from "../templora/modules.ts";
import type { ChunkRecord } from "../templora/records.ts";
import type { Session } from "../templora/session.ts";
import type { StoredAdapter } from "../templora/stored_adapter.ts";
import { StoppedError, writeError } from "./errors.ts";
import { assertWritable } from "./files.ts";
import type { Terminal } from "./output.ts";

export interface AdapterOptions {
  readonly loadAdapter?: string | undefined;
  readonly saveAdapter?: string;
}

export function addAdapterOptions(command: Command): Command {
  return command
    .optionsGroup("Adapters (folders in peft's format):")
    .option(
      "--load-adapter <folder>",
      "begin with this adapter and train on; its rank, alpha and targets hold (--epochs 0 leaves it as it is)",
    )
    .option(
      "--save-adapter <folder>",
      "keep the adapter as it is at the end of the run (default: it is thrown away)",
    );
}

/** What --load-adapter names, checked against the model; null without the flag. */
export async function openAdapter(
  {
    loadAdapter,
    saveAdapter,
    templora,
    adapt = "lora",
  }: AdapterOptions & { readonly templora: boolean; readonly adapt?: Adapt | undefined },
  model: ModelFiles,
): Promise<StoredAdapter | null> {
  const flag = loadAdapter === undefined ? "--save-adapter" : "--load-adapter";
  if (!templora && (loadAdapter ?? saveAdapter) !== undefined)
    throw new BadInputError(`${flag}: with --no-templora there is no adapter`);
  if (saveAdapter !== undefined && adapt !== "lora")
    throw new BadInputError(`--save-adapter: --adapt ${adapt}: ${NOT_KEPT}; leave one of them out`);
  if (loadAdapter === undefined) return null;
  return readAdapter(loadAdapter, modulesOf(model));
}

/** What the first JSON line says of them. */
export function adapterRecord(
  { loadAdapter, saveAdapter }: AdapterOptions,
  adapter: StoredAdapter | null,
): object {
  return {
    ...(adapter && { load_adapter: loadAdapter, adapter: adapter.toJSON() }),
    ...(saveAdapter !== undefined && { save_adapter: saveAdapter }),
  };
}

/** The adapter's files, which are not to be among what is read, nor written by another flag. */
export function outputsOf({ saveAdapter }: AdapterOptions): string[] {
  return saveAdapter === undefined ? [] : [TENSORS, CONFIG].map((name) => join(saveAdapter, name));
}

/** Throws where --save-adapter could not be kept: before any work. */
export async function proveAdapterPlace({ saveAdapter: path }: AdapterOptions): Promise<void> {
  if (path === undefined) return;
  await assertAdapterPlace(path);
  try {
    const isNew = statSync(path, { throwIfNoEntry: false }) === undefined;
    if (isNew) mkdirSync(path);
    for (const name of [TENSORS, CONFIG]) assertWritable(join(path, name));
    if (isNew) rmdirSync(path);
  } catch (error) {
    throw writeError(path, error);
  }
}

/** The run so far, for the case that its adapter cannot be kept. */
interface Run {
  readonly session: Session;
  readonly keeper: Keeper;
  readonly records: readonly ChunkRecord[];
}

/** Keeps the adapter of a run that has come to its end. Where that fails, the run's state is kept instead. */
export async function keepAdapter(
  { saveAdapter: path }: AdapterOptions,
  { session, keeper, records }: Run,
  baseModel: string,
  terminal: Terminal,
): Promise<void> {
  if (path === undefined) return;
  try {
    await saveAdapter(session, path, { baseModel });
  } catch (error) {
    const why = error instanceof BadInputError ? error : writeError(path, error);
    await keeper.stop(async () => ({ records, snapshot: await session.snapshot() }));
    throw new StoppedError(`${why.message}; the same command with --resume tries again`, { cause: error });
  }
  terminal.note(`the adapter is in ${path}`);
}
