/**
 * What a command needs to go on after Ctrl-C or a crash: the learner's snapshot, and all records and tokens so far. They
 * are played back when the run resumes, so that its output is that of an uninterrupted run.
 */
import { createHash } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import { cacheFolder } from "../engine/backends/host/files.ts";
import type { Checkpoint } from "../model/checkpoint.ts";
import { type Keeper, type Snapshot, type SoFar, type Take, loadRun, saveRun } from "../templora/state.ts";
import { version } from "./version.ts";

/** Beside every stop, the state is saved this often: a crash loses no more. */
const SAVE_EVERY_MS = 5 * 60_000;

export interface StateOptions {
  readonly state?: string;
  readonly resume?: boolean;
}

interface Facts {
  /** What each text begun has given, in order; a text that is written is the only one. */
  readonly texts: readonly SoFar[];
}

/** Equal for two runs that give the same bits: `parts` is what decides them beside the model and the device. */
export function identityOf(
  command: string,
  { source, config, tensors }: Checkpoint,
  device: Device,
  parts: object,
): string {
  const model = { source, config, tensors: [...tensors.values()] };
  return hash(JSON.stringify({ version: version(), command, model, device: device.info.kind, ...parts }));
}

export const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

export class RunState {
  readonly path: string;
  readonly #identity: string;
  readonly #texts: SoFar[];
  readonly #earlier: readonly SoFar[];
  /** The learner at the last boundary of the earlier run's last text. */
  readonly #snapshot: Snapshot | null;
  #saved = performance.now();

  private constructor(path: string, identity: string, { texts }: Facts, snapshot: Snapshot | null) {
    this.path = path;
    this.#identity = identity;
    this.#earlier = texts;
    this.#texts = [...texts];
    this.#snapshot = snapshot;
  }

  /** `state` is the user's choice of place; by default the cache folder, under the run's identity. */
  static async open(identity: string, { state, resume = false }: StateOptions): Promise<RunState> {
    const path = state ?? join(cacheFolder(), "state", `${identity.slice(0, 16)}.state`);
    if (!resume) return new RunState(path, identity, { texts: [] }, null);
    const saved = await loadRun<Facts>(path, identity);
    if (!saved) {
      throw new BadInputError(
        `--resume: no state of such a run (${path} is missing); it is kept when the same command is interrupted`,
      );
    }
    return new RunState(path, identity, saved.facts, saved.snapshot);
  }

  /** Of one of the run's texts. Writes the file at every stop, and now and then at a boundary. */
  keeper(text: number): Keeper {
    const earlier = this.#earlier[text] ?? { records: [], tokens: [] };
    const snapshot = text === this.#earlier.length - 1 ? this.#snapshot : null;
    return {
      earlier: { ...earlier, snapshot },
      boundary: async (soFar, take) => {
        this.#texts[text] = soFar;
        if (performance.now() - this.#saved > SAVE_EVERY_MS) await this.#save(take);
      },
      stop: (take) => this.#save(take),
    };
  }

  async #save(take: Take): Promise<void> {
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
