/** A job's tasks: one text read by one model in one way. A task's key is the hash of all that decides its result. */
import { readFile } from "node:fs/promises";
import { BadInputError } from "../../engine/errors.ts";
import { fileError } from "../../model/file.ts";
import type { ModelFiles } from "../../model/model_files.ts";
import { atMost } from "../../templora/needs.ts";
import { type AutoOptions, budgetOf } from "../auto.ts";
import { findModel } from "../hub/find.ts";
import { hash, identityOf } from "../identity.ts";
import { type MemoryOptions, type TempLoraOptions, resolveMemory, resolveWindows } from "../options.ts";
import type { AdapterOptions } from "../adapters.ts";
import type { Io, Terminal } from "../output.ts";
import { camel, resolveRecipe } from "../recipe.ts";
import { bytesDone, openModel, servingWindows, throwIfStopped } from "../session.ts";
import { version } from "../version.ts";
import { type Flags, type JobFile, optionsOf } from "./job_file.ts";

export interface Task {
  readonly key: string;
  readonly text: { readonly name: string; readonly sha256: string };
  readonly model: { readonly name: string; readonly identity: string };
  readonly flags: Flags;
  /** Bytes of memory that it takes at most. */
  readonly needs: number;
}

/** A task with the text that it reads. */
export interface Planned {
  readonly task: Task;
  readonly bytes: Uint8Array;
}

/** A hash of what a model is, wherever its files are. */
export async function modelIdentity(files: ModelFiles, terminal: Terminal, io: Io): Promise<string> {
  const identity = await identityOf("model", files, {}, (done, total) => {
    throwIfStopped(io);
    bytesDone(terminal, "hashing the model", done, total);
  }).finally(() => terminal.endProgress());
  return identity.hash;
}

/** The identity of a model of this machine; null where it has no such model. */
export async function identityHere(name: string, terminal: Terminal, io: Io): Promise<string | null> {
  try {
    await using files = await openModel({ model: name, quiet: true }, io);
    return await modelIdentity(files, terminal, io);
  } catch (error) {
    if (error instanceof BadInputError) return null;
    throw error;
  }
}

/** All tasks of a job, each once: texts of the same bytes are one. */
export async function* tasksOf(job: JobFile, terminal: Terminal, io: Io): AsyncGenerator<Planned> {
  const seen = new Set<string>();
  for (const name of job.models) {
    await findModel(name, { quiet: true }, terminal, io); // its own words where there is none
    for (const flags of job.readings) {
      const options = optionsOf(flags, name);
      await using files = await openModel({ ...options, model: name, quiet: true }, io);
      const identity = await modelIdentity(files, terminal, io);
      const { parts, needs } = settled(options, files);
      for (const { path, name: called } of job.texts) {
        throwIfStopped(io);
        const bytes = await readFile(path).catch((error: unknown) => {
          throw fileError(path, error);
        });
        const sha256 = hash(bytes);
        const key = hash(JSON.stringify({ version: version(), command: "ppl", identity, sha256, ...parts }));
        if (seen.has(key)) continue;
        seen.add(key);
        const task = { key, text: { name: called, sha256 }, model: { name, identity }, flags };
        yield { task: { ...task, needs: needs(bytes.length) }, bytes };
      }
    }
  }
}

type Given = TempLoraOptions &
  MemoryOptions &
  AdapterOptions & { readonly seed: number; readonly baseline: boolean };

/** What of the options decides a result, defaults made explicit: a recipe's name or its values are the same. */
function settled(
  given: Readonly<Record<string, unknown>>,
  files: ModelFiles,
): { readonly parts: object; readonly needs: (tokens: number) => number } {
  const { options } = budgetOf<Given>(given as unknown as AutoOptions<Given>);
  const recipe = resolveRecipe(options);
  const windows = resolveWindows(options, recipe, files.config);
  const memory = resolveMemory(options);
  const told = [...Object.keys(recipe).map(camel), "recipe", ...Object.keys({ ...windows, ...memory })];
  const left = ["device", "threads", "checkpointLayers", ...told];
  const rest = Object.entries(given)
    .filter(([name, value]) => value !== undefined && !left.includes(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const { templora, baseline, seed, checkpointLayers } = options;
  const session = {
    ...windows,
    ...memory,
    recipe,
    adapter: null,
    seed,
    baseline,
    templora,
    checkpointLayers,
  };
  const serving = servingWindows(files, windows);
  return {
    parts: { recipe, windows, memory, rest: Object.fromEntries(rest) },
    needs: (tokens) => atMost(serving, session, { tokens, writes: false }).total,
  };
}
