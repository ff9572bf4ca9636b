/**
 * What a command needs to go on after Ctrl-C or a crash: the learner's snapshot, and all records and tokens so far. They
 * are played back when the run resumes, so that its output is that of an uninterrupted run.
 */
import { access, constants, mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BadInputError } from "../engine/errors.ts";
import { cacheFolder } from "../model/checkpoint.ts";
import {
  type Keeper,
  type Snapshot,
  type SoFar,
  type Take,
  loadRun,
  ownerOf,
  saveRun,
} from "../templora/state.ts";
import { writeError } from "./errors.ts";
import { locate } from "./files.ts";
import type { Numerics } from "./identity.ts";
import type { StateOptions } from "./options.ts";

/** The state is saved at every stop, and this often before: a crash loses no more. */
const SAVE_EVERY_MS = 5 * 60_000;

interface Facts {
  /** Records and tokens of each text begun so far, in order. A run that writes has one text. */
  readonly texts: readonly SoFar[];
  /** All that the run was computed under, in order. */
  readonly numerics: readonly Numerics[];
}

export class RunState {
  readonly path: string;
  readonly #identity: string;
  readonly #texts: SoFar[];
  readonly #earlier: Facts;
  /** The learner at the last boundary of the earlier run's last text. */
  readonly #snapshot: Snapshot | null;
  #numerics: readonly Numerics[];
  /** The file is this run's, so that the run may remove it. */
  #owned: boolean;
  #saved = performance.now();

  private constructor(
    path: string,
    identity: string,
    earlier: Facts,
    snapshot: Snapshot | null,
    owned: boolean,
  ) {
    this.path = path;
    this.#identity = identity;
    this.#earlier = earlier;
    this.#texts = [...earlier.texts];
    this.#numerics = earlier.numerics;
    this.#snapshot = snapshot;
    this.#owned = owned;
  }

  /**
   * `state` is the user's choice of place; by default the cache folder, under the run's identity. A file that is no state
   * and a place that cannot be written are refused.
   */
  static async open(identity: string, { state, resume = false }: StateOptions): Promise<RunState> {
    const path =
      state === undefined
        ? join(cacheFolder(), "state", `${identity.slice(0, 16)}.state`)
        : locate(state).path;
    const owned = (await ownerOf(path)) === identity;
    const saved = resume ? await loadRun<Facts>(path, identity) : null;
    if (resume && !saved) {
      throw new BadInputError(
        `--resume: no state of such a run (${path} is missing); it is kept when the same command is interrupted`,
      );
    }
    try {
      await mkdir(dirname(path), { recursive: true });
      await access(dirname(path), constants.W_OK);
    } catch (error) {
      throw writeError(state ?? `${path} (--state FILE names another place)`, error);
    }
    const nothing = { texts: [], numerics: [] };
    return new RunState(path, identity, saved?.facts ?? nothing, saved?.snapshot ?? null, owned);
  }

  /** Says what the run is computed under from now on. Answers what an earlier part was, if it differs; else null. */
  computedUnder(now: Numerics): Numerics | null {
    const { numerics } = this.#earlier;
    const same = (one: Numerics | undefined): boolean => JSON.stringify(one) === JSON.stringify(now);
    if (!same(numerics.at(-1))) this.#numerics = [...numerics, now];
    return numerics.find((one) => !same(one)) ?? null;
  }

  /** The keeper of one of the run's texts. Writes the file at every stop, and now and then at a boundary. */
  keeper(text: number): Keeper {
    const { texts } = this.#earlier;
    const earlier = texts[text] ?? { records: [], tokens: [] };
    const snapshot = text === texts.length - 1 ? this.#snapshot : null;
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
    const facts = { texts: this.#texts, numerics: this.#numerics };
    const snapshot = await take();
    try {
      await saveRun<Facts>(this.path, { identity: this.#identity, facts, snapshot });
    } catch (error) {
      throw writeError(this.path, error);
    }
    this.#owned = true;
    this.#saved = performance.now();
  }

  /** The run is complete: there is nothing to resume. Another run's state stays. */
  async discard(): Promise<void> {
    if (this.#owned) await rm(this.path, { force: true });
  }
}
