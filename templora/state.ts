/**
 * A run's state on disk, so that an interrupted run goes on with the bits of an uninterrupted one: the adapter, the
 * optimiser's moments, counters, and what the caller needs to know again (records, tokens written).
 *
 * One file: a line of JSON, then the f32 arrays it names. It is replaced whole (temporary file, fsync, rename).
 */
import { open, readFile, stat } from "node:fs/promises";
import { writeWhole } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import type { ChunkRecord } from "./records.ts";

/** The whole state of a learner between two chunks. */
export interface Snapshot {
  /** Chunks trained on. */
  readonly chunks: number;
  /** Optimiser steps taken. */
  readonly steps: number;
  /** A and B, and their first and second moments: flat, in the order of the parameters. */
  readonly values: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

/** The output of a run so far. */
export interface SoFar {
  readonly records: readonly ChunkRecord[];
  /** Tokens written; a reader writes none. */
  readonly tokens: readonly number[];
}

/** Copies the learner; null without one. */
export type Take = () => Promise<Snapshot | null>;

/** Where a run's state goes, and where it comes from. A boundary is where nothing but `SoFar` and the learner is needed to go on. */
export interface Keeper {
  /** What an earlier run had put out at its last boundary, and its learner there; empty to start afresh. */
  readonly earlier: SoFar & { readonly snapshot: Snapshot | null };
  /** At a boundary. Until the next one `take` answers the learner as it is now; a copy is worth making now and then only. */
  boundary(soFar: SoFar, take: Take): Promise<void>;
  /** Before an early end: the last boundary is what to keep. */
  stop(take: Take): Promise<void>;
}

export interface SavedRun<Facts> {
  /** Equal for two runs when one can go on from the other's state: model, text, options. */
  readonly identity: string;
  readonly facts: Facts;
  /** Null for a run without an adapter. */
  readonly snapshot: Snapshot | null;
}

/** The format, and its version. */
const FORMAT = "templora-state";
const MAGIC = `${FORMAT}-2`;
const arrays = ["values", "m", "v"] as const;

export async function saveRun<Facts>(
  path: string,
  { identity, facts, snapshot }: SavedRun<Facts>,
): Promise<void> {
  const header = {
    magic: MAGIC,
    identity,
    facts,
    snapshot: snapshot && { chunks: snapshot.chunks, steps: snapshot.steps, length: snapshot.values.length },
  };
  await writeWhole(path, async (file) => {
    await file.writeFile(`${JSON.stringify(header, encode)}\n`);
    if (!snapshot) return;
    for (const name of arrays) {
      const { buffer, byteOffset, byteLength } = snapshot[name];
      await file.writeFile(new Uint8Array(buffer, byteOffset, byteLength));
    }
  });
}

/**
 * The identity of the run whose state is at `path`; null when there is no file. Reads the file's beginning only; throws
 * BadInputError when it is no state, of whatever version, so that nothing else is ever replaced or removed.
 */
export async function ownerOf(path: string): Promise<string | null> {
  const beginning = Buffer.alloc(256);
  try {
    if (!(await stat(path)).isFile()) throw notAState(path);
    const file = await open(path, "r");
    try {
      await file.read(beginning, 0, beginning.length, 0);
    } finally {
      await file.close();
    }
  } catch (error) {
    return missing(path, error);
  }
  const found = new RegExp(`^\\{"magic":"${FORMAT}-\\d+","identity":"([0-9a-f]*)"`).exec(
    beginning.toString("latin1"),
  );
  if (!found) throw notAState(path);
  return found[1] ?? "";
}

/** The saved run, or null when there is no file. Throws BadInputError for another run's state or a damaged file. */
export async function loadRun<Facts>(path: string, identity: string): Promise<SavedRun<Facts> | null> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    return missing(path, error);
  }
  const end = bytes.indexOf(10);
  type Header = {
    magic?: unknown;
    identity?: unknown;
    facts: Facts;
    snapshot: { chunks: number; steps: number; length: number } | null;
  };
  let header: Header;
  try {
    header = JSON.parse(bytes.toString("utf8", 0, Math.max(0, end)), decode) as Header;
  } catch {
    throw notAState(path);
  }
  if (header.magic !== MAGIC) throw notAState(path);
  if (header.identity !== identity) {
    throw new BadInputError(
      `${path}: the state of another run (its model, text or options differ): remove it, or name another file`,
    );
  }
  if (!header.snapshot) return { identity, facts: header.facts, snapshot: null };
  const { chunks, steps, length } = header.snapshot;
  if (bytes.byteLength !== end + 1 + 3 * 4 * length)
    throw new BadInputError(`${path}: the state file is truncated`);
  const array = (i: number): Float32Array => {
    const from = bytes.byteOffset + end + 1 + 4 * length * i;
    return new Float32Array(bytes.buffer.slice(from, from + 4 * length));
  };
  return {
    identity,
    facts: header.facts,
    snapshot: { chunks, steps, values: array(0), m: array(1), v: array(2) },
  };
}

function notAState(path: string): BadInputError {
  return new BadInputError(
    `${path}: not a state file of templora, so it is left as it is; name another file, or remove it`,
  );
}

/** Null for a file that is not there; whatever else kept it from being read is an error. */
function missing(path: string, error: unknown): null {
  if (error instanceof BadInputError) throw error;
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
  throw new BadInputError(`${path}: cannot read the state: ${(error as Error).message}`);
}

/** JSON has no NaN and no infinity, but records may. */
const NUMBER = "$number";
const encode = (_key: string, value: unknown): unknown =>
  typeof value === "number" && !Number.isFinite(value) ? { [NUMBER]: String(value) } : value;
const decode = (_key: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && NUMBER in value ? Number(value[NUMBER]) : value;
