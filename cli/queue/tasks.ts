/** A job's tasks: one text read by one model in one way. A task's key is the hash of all that decides its result. */
import { readFile, stat } from "node:fs/promises";
import { BadInputError } from "../../engine/errors.ts";
import { fileError } from "../../model/file.ts";
import type { ModelFiles } from "../../model/model_files.ts";
import { atMost } from "../../templora/needs.ts";
import { type AutoOptions, budgetOf } from "../auto.ts";
import { asFlags } from "../errors.ts";
import { findModel } from "../hub/find.ts";
import { hash, identityOf } from "../identity.ts";
import { type MemoryOptions, type TempLoraOptions, resolveMemory, resolveWindows } from "../options.ts";
import type { AdapterOptions } from "../adapters.ts";
import type { Io, Terminal } from "../output.ts";
import { checkOptions } from "../ppl.ts";
import { camel, resolveRecipe } from "../recipe.ts";
import { bytesDone, openModel, servingWindows, throwIfStopped } from "../session.ts";
import { version } from "../version.ts";
import { type Flags, optionsOf } from "./flags.ts";
import type { JobFile } from "./job_file.ts";

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

/** All tasks of a job, each once: texts of the same bytes are one, which `onSame` is told of. */
export async function* tasksOf(
  job: JobFile,
  terminal: Terminal,
  io: Io,
  onSame: () => void = () => undefined,
): AsyncGenerator<Planned> {
  const ways = await waysOf(job, terminal, io);
  const seen = new Set<string>();
  for (const { model, flags, parts, needs } of ways)
    for (const { path, name } of job.texts) {
      throwIfStopped(io);
      const bytes = await textOf(path);
      const sha256 = hash(bytes);
      const { identity } = model;
      const key = hash(JSON.stringify({ version: version(), command: "ppl", identity, sha256, ...parts }));
      if (seen.has(key)) {
        onSame();
        continue;
      }
      seen.add(key);
      yield { task: { key, text: { name, sha256 }, model, flags, needs: needs(bytes.length) }, bytes };
    }
}

/** A model and a recipe of a job: each reads every text. */
interface Way extends Settled {
  readonly model: Task["model"];
  readonly flags: Flags;
}

/** All of them, before any work: what is wrong with the last should not be found after the tasks of the first. */
async function waysOf(job: JobFile, terminal: Terminal, io: Io): Promise<Way[]> {
  const ways: Way[] = [];
  for (const name of job.models) {
    await findModel(name, { quiet: true }, terminal, io); // its own words where there is none
    for (const { flags, where } of job.readings) {
      const options = optionsOf(flags, where);
      await using files = await placed(where, () => openModel({ ...options, model: name, quiet: true }, io));
      const settling = await placed(where, () => settled(options, files));
      ways.push({ model: { name, identity: await modelIdentity(files, terminal, io) }, flags, ...settling });
    }
  }
  return ways;
}

/** A file's bytes; what can be read only once is refused, since each model and recipe reads it. */
async function textOf(path: string): Promise<Uint8Array> {
  try {
    if (!(await stat(path)).isFile()) throw new BadInputError(`${path}: not a regular file`);
    return await readFile(path);
  } catch (error) {
    throw error instanceof BadInputError ? error : fileError(path, error);
  }
}

/** Flags that do not go together, or not with the model, are refused by their place in the job file. */
async function placed<T>(where: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof BadInputError)) throw error;
    throw new BadInputError(`${where}: ${asFlags(error.message)}`);
  }
}

type Given = TempLoraOptions &
  MemoryOptions &
  AdapterOptions & { readonly seed: number; readonly baseline: boolean };

interface Settled {
  /** Of a task's key. */
  readonly parts: object;
  readonly needs: (tokens: number) => number;
}

/** What of the options decides a result, defaults made explicit: a recipe's name or its values are the same. */
function settled(given: Readonly<Record<string, unknown>>, files: ModelFiles): Settled {
  const usual = given["conventions"] === "official" ? { recipe: "paper" } : {}; // as ppl has it
  const { options } = budgetOf<Given>({ ...usual, ...given } as unknown as AutoOptions<Given>);
  const recipe = resolveRecipe(options);
  checkOptions(options, recipe, 1);
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
