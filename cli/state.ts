/**
 * What `templora ppl` needs to go on after Ctrl-C or a crash: the learner's snapshot and all records so far. They are
 * played back when the run resumes, so that its output is that of an uninterrupted run.
 */
import { createHash } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BadInputError } from "../engine/errors.ts";
import { cacheFolder } from "../model/checkpoint.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { type Snapshot, loadRun, saveRun } from "../templora/state.ts";

/** Beside every stop, the state is saved this often: a crash loses no more. */
const SAVE_EVERY_MS = 5 * 60_000;

interface Facts {
  /** Records of each text begun, in order. */
  readonly texts: readonly (readonly ChunkRecord[])[];
}

/** Equal for two runs that give the same bits. */
export function identityOf(parts: object): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

export const hashText = (text: string): string => createHash("sha256").update(text).digest("hex");

export class RunState {
  readonly path: string;
  readonly #identity: string;
  readonly #texts: ChunkRecord[][];
  readonly #earlier: readonly (readonly ChunkRecord[])[];
  /** The learner after the earlier run's last record. */
  readonly #snapshot: Snapshot | null;
  #saved = performance.now();

  private constructor(path: string, identity: string, facts: Facts, snapshot: Snapshot | null) {
    this.path = path;
    this.#identity = identity;
    this.#earlier = facts.texts;
    this.#texts = facts.texts.map((records) => [...records]);
    this.#snapshot = snapshot;
  }

  /** `file` is the user's choice of place; by default the cache folder, under the run's identity. */
  static async open(
    identity: string,
    options: { file: string | undefined; resume: boolean },
  ): Promise<RunState> {
    const path = options.file ?? join(cacheFolder(), "state", `${identity.slice(0, 16)}.state`);
    if (!options.resume) return new RunState(path, identity, { texts: [] }, null);
    const saved = await loadRun<Facts>(path, identity);
    if (!saved) {
      throw new BadInputError(
        `--resume: no state of such a run (${path} is missing); it is kept when the same command is interrupted`,
      );
    }
    return new RunState(path, identity, saved.facts, saved.snapshot);
  }

  /** Records of a text from the earlier run. */
  earlier(text: number): readonly ChunkRecord[] {
    return this.#earlier[text] ?? [];
  }

  /** The learner after the last of the earlier run's records; null when the text was not begun. */
  snapshot(text: number): Snapshot | null {
    return text === this.#earlier.length - 1 ? this.#snapshot : null;
  }

  /** Takes a new record in; now and then, writes the file with what `take` answers: the learner after the record. */
  async add(text: number, record: ChunkRecord, take: () => Promise<Snapshot | null>): Promise<void> {
    (this.#texts[text] ??= []).push(record);
    if (performance.now() - this.#saved > SAVE_EVERY_MS) await this.save(take);
  }

  /** Writes the file. */
  async save(take: () => Promise<Snapshot | null>): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true });
    const facts = { texts: this.#texts };
    await saveRun<Facts>(this.path, { identity: this.#identity, facts, snapshot: await take() });
    this.#saved = performance.now();
  }

  /** The run is complete: there is nothing to resume. */
  async discard(): Promise<void> {
    await rm(this.path, { force: true });
  }
}
