/**
 * What a command needs to continue after Ctrl-C or a crash: all records so far, and the session that was in progress. The
 * records are shown again when the run resumes, so that its output is that of an uninterrupted run.
 */
import { access, constants, mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BadInputError } from "../engine/errors.ts";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { type Keeper, type Kept } from "../templora/keeping.ts";
import { loadRun, ownerOf, saveRun } from "../templora/state.ts";
import { NotKeptError, writeError } from "./errors.ts";
import { locate } from "./files.ts";
import type { Numerics } from "./identity.ts";
import type { StateOptions } from "./options.ts";

/** Time between two saves; at a stop the state is saved, too. TEMPLORA_SAVE_EVERY_MS, for tests, changes it. */
const SAVE_EVERY_MS = 5 * 60_000;
const saveEvery = (): number => Number(process.env["TEMPLORA_SAVE_EVERY_MS"] ?? SAVE_EVERY_MS);

/** What is kept of one text; `snapshot` is null when the text is done. */
type KeptText = Omit<Kept, "snapshot"> & { readonly snapshot: Kept["snapshot"] | null };

interface Facts {
  /** One entry for each text begun, in order (`generate` has one text); only the last can have a snapshot. */
  readonly texts: readonly KeptText[];
  /** All numerics that the run was computed under, in order. */
  readonly numerics: readonly Numerics[];
}

export class RunState {
  readonly path: string;
  readonly #identity: string;
  readonly #texts: KeptText[];
  readonly #earlier: Facts;
  #numerics: readonly Numerics[];
  /** Whether the file is this run's, so that the run may remove it. */
  #owned: boolean;
  #saved = performance.now();

  private constructor(path: string, identity: string, earlier: Facts, owned: boolean) {
    this.path = path;
    this.#identity = identity;
    this.#earlier = earlier;
    this.#texts = [...earlier.texts];
    this.#numerics = earlier.numerics;
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
    return new RunState(path, identity, saved?.facts ?? nothing, owned);
  }

  /** Sets the numerics that the run is computed under from now on. Returns those of an earlier part that differ; else null. */
  computedUnder(now: Numerics): Numerics | null {
    const { numerics } = this.#earlier;
    const same = (one: Numerics | undefined): boolean => JSON.stringify(one) === JSON.stringify(now);
    if (!same(numerics.at(-1))) this.#numerics = [...numerics, now];
    return numerics.find((one) => !same(one)) ?? null;
  }

  /** The records of one of the run's texts, where an earlier run has read all of it; else null. */
  done(text: number): Kept["records"] | null {
    const earlier = this.#earlier.texts[text];
    return earlier && !earlier.snapshot ? earlier.records : null;
  }

  /** The keeper of one of the run's texts: writes the file at a stop, and now and then between two steps. `note` shows a line. */
  keeper(text: number, note: (line: string) => void): Keeper {
    const earlier = this.#earlier.texts[text];
    return {
      earlier: earlier?.snapshot ? { records: earlier.records, snapshot: earlier.snapshot } : null,
      point: async (take) => {
        if (performance.now() - this.#saved <= saveEvery()) return;
        try {
          await this.#save(text, await take());
        } catch (error) {
          // A full disk now is no reason to end a run that goes well.
          note(`the state is not saved: ${(error as Error).message}; the run goes on`);
          this.#saved = performance.now();
        }
      },
      stop: async (take) => {
        const kept = await take();
        try {
          await this.#save(text, kept);
        } catch (cause) {
          throw new NotKeptError(`stopped, but the state is lost: ${(cause as Error).message}`, { cause });
        }
      },
    };
  }

  /** Text `text` is read. */
  finish(text: number, records: Kept["records"]): void {
    this.#texts[text] = { records, snapshot: null };
  }

  async #save(text: number, kept: Kept): Promise<void> {
    this.#texts[text] = kept;
    const facts = { texts: this.#texts, numerics: this.#numerics };
    try {
      await saveRun<Facts>(this.path, { identity: this.#identity, facts });
    } catch (error) {
      throw writeError(this.path, error);
    }
    this.#owned = true;
    this.#saved = performance.now();
  }

  /** Removes the state of a complete run; another run's stays. `note` is called when it cannot be removed. */
  async discard(note: (line: string) => void): Promise<void> {
    if (!this.#owned) return;
    try {
      await rm(this.path, { force: true });
    } catch (error) {
      note(`the state of this run, now complete, is not removed: ${(error as Error).message}`);
    }
  }
}
