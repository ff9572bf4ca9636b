/**
 * A run's state on disk, so that an interrupted run goes on with the bits of an uninterrupted one: the adapter, the
 * optimiser's moments, counters, and what the caller needs to know again (records, tokens written).
 *
 * One file: a line of JSON, then the f32 arrays it names. It is replaced whole (temporary file, fsync, rename).
 */
import { open, readFile, rename, rm } from "node:fs/promises";
import { BadInputError } from "../engine/errors.ts";
import type { ChunkRecord } from "./records.ts";

/** What a learner is at a chunk boundary. */
export interface Snapshot {
  /** Chunks trained on. */
  readonly chunks: number;
  /** Optimiser steps taken. */
  readonly steps: number;
  /** A and B, first and second moments: flat, as the parameters lie. */
  readonly values: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

/** What a run has put out. */
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
  /** Whatever must equal for the state to be this run's: options, model, text. */
  readonly identity: string;
  readonly facts: Facts;
  /** Null for a run without an adapter. */
  readonly snapshot: Snapshot | null;
}

const MAGIC = "templora-state-2";
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
  const temporary = `${path}.tmp`;
  const file = await open(temporary, "w");
  try {
    await file.write(`${JSON.stringify(header)}\n`);
    for (const name of snapshot ? arrays : []) {
      const array = snapshot?.[name] ?? new Float32Array();
      await file.write(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    }
    await file.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** The saved run, or null when there is no file. Throws BadInputError for another run's state or a damaged file. */
export async function loadRun<Facts>(path: string, identity: string): Promise<SavedRun<Facts> | null> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new BadInputError(`${path}: cannot read the state: ${(error as Error).message}`);
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
    header = JSON.parse(bytes.toString("utf8", 0, Math.max(0, end))) as Header;
  } catch {
    throw new BadInputError(`${path}: not a state file of templora`);
  }
  if (header.magic !== MAGIC) throw new BadInputError(`${path}: not a state file of templora`);
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
