/**
 * What a command needs to continue after Ctrl-C or a crash: all records so far, and the session that was in progress. The
 * records are shown again when the run resumes, so that its output is that of an uninterrupted run.
 */
import { readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BadInputError } from "../engine/errors.ts";
import { cacheFolder, makeFolder } from "../engine/backends/host/files.ts";
import { asArray, asObject, asString, some } from "../model/untrusted.ts";
import { type Keeper, type Kept } from "../templora/keeping.ts";
import type { ChunkRecord } from "../templora/records.ts";
import type { SessionSnapshot } from "../templora/session.ts";
import {
  type About,
  aboutOf,
  anothers,
  beforeOf,
  keepBefore,
  loadEither,
  ownerOf,
  ownerOfEither,
  saveRun,
} from "../templora/state.ts";
import { StoppedError, writeError } from "./errors.ts";
import { assertWritable, locate } from "./files.ts";
import type { Identity, Numerics } from "./identity.ts";
import type { StateOptions } from "./options.ts";
import type { Checkpoints } from "./output.ts";
import { type Growing, type Parts, partsOf, removeLeft } from "./parts.ts";
import { type RunFacts, differences, factsOf, inWords, sameWork } from "./run_facts.ts";

/** Time between two saves; at a stop the state is saved, too. TEMPLORA_SAVE_EVERY_MS, for tests, changes it. */
const SAVE_EVERY_MS = 5 * 60_000;
const saveEvery = (): number => Number(process.env["TEMPLORA_SAVE_EVERY_MS"] ?? SAVE_EVERY_MS);
/** The most time between two copies on the host, from which a run goes on when its device is lost. */
const COPY_EVERY_MS = 60_000;

/** Files that a run writes; null where one is not wanted. */
export interface Outputs {
  readonly outputs?: readonly (Growing | null)[];
}

/** What of a snapshot says how far it is. */
export interface Place {
  readonly ids?: ArrayLike<number>;
  readonly learnt: number;
}

/** What is kept of one text; `snapshot` is null when the text is done. */
interface KeptText<R, S> extends Kept<R, S | null> {
  /** What was written behind it. */
  readonly written?: string | null;
}

interface Facts<R, S> {
  /** One entry for each text begun, in order (`generate` has one text); only the last can have a snapshot. */
  readonly texts: readonly KeptText<R, S>[];
  /** All numerics that the run was computed under, in order. */
  readonly numerics: readonly Numerics[];
}

/** Facts that hold together as far as a run's beginning depends on it; a snapshot is looked at by what takes it over. */
function checked<R, S>(facts: unknown, path: string): Facts<R, S> {
  const { texts, numerics } = asObject(facts, `${path}: facts`);
  for (const [i, text] of asArray(texts, `${path}: texts`).entries()) {
    const where = `${path}: texts[${i}]`;
    const { records, snapshot, written = null } = asObject(text, where);
    for (const record of asArray(records, `${where}: records`)) asObject(record, `${where}: a record`);
    if (snapshot !== null) asObject(snapshot, `${where}: snapshot`);
    if (written !== null) asString(written, `${where}: written`);
  }
  for (const one of asArray(numerics, `${path}: numerics`)) asObject(one, `${path}: numerics`);
  return facts as Facts<R, S>;
}

/** How far a run has come: texts begun, whether the last is done, its tokens, those of them that were learnt. */
function progressOf({ texts }: Facts<unknown, Place>): readonly number[] {
  const last = texts.at(-1);
  const { ids, learnt = 0 } = last?.snapshot ?? {};
  return [texts.length, last?.snapshot === null ? 1 : 0, ids?.length ?? 0, learnt];
}

function isFurther(a: Facts<unknown, Place>, b: Facts<unknown, Place>): boolean {
  const there = progressOf(b);
  const difference = progressOf(a).map((x, i) => x - (there[i] ?? 0));
  return (difference.find((x) => x !== 0) ?? 0) > 0;
}

export class RunState<R = ChunkRecord, S extends Place = SessionSnapshot> implements AsyncDisposable {
  readonly path: string;
  readonly #identity: string;
  readonly #run: RunFacts;
  readonly #outputs: readonly (Growing | null)[];
  /** Parts of outputs that earlier processes have left. */
  readonly #leftParts: Parts;
  readonly #texts: KeptText<R, S>[];
  readonly #earlier: Facts<R, S>;
  readonly #checkpoints: Checkpoints | undefined;
  #numerics: readonly Numerics[];
  /** Whether a stop has kept the run's state: this one's, or that of an earlier process, which is further. */
  kept: "this" | "further" | null = null;
  /** The file as this process has left it, or found it whole. */
  #left: string | null = null;
  /** Nothing is in it yet: its place is taken, so that no other run takes it. */
  #empty = false;
  /** A text was finished since the last save. */
  #behind = false;
  /** A copy was taken since the last save. */
  #copied = false;
  #saved = performance.now();
  #copiedAt = performance.now();

  private constructor(
    path: string,
    identity: string,
    run: RunFacts,
    outputs: readonly (Growing | null)[],
    parts: Parts,
    earlier: Facts<R, S>,
    checkpoints?: Checkpoints,
  ) {
    this.path = path;
    this.#identity = identity;
    this.#run = run;
    this.#outputs = outputs;
    this.#leftParts = parts;
    this.#checkpoints = checkpoints;
    this.#earlier = earlier;
    this.#texts = [...earlier.texts];
    this.#numerics = earlier.numerics;
  }

  /**
   * `state` is the user's choice of place; by default the cache folder, under the run's identity, which `identify` finds out. A file
   * that is no state, another run's state and a place that cannot be written are refused. `outputs` are those that the run writes.
   */
  static async open<R = ChunkRecord, S extends Place = SessionSnapshot>(
    { state, resume = false, outputs = [] }: StateOptions & Outputs,
    identify: () => Promise<Identity>,
    note: (line: string) => void = () => undefined,
    checkpoints?: Checkpoints,
  ): Promise<RunState<R, S>> {
    const folder = join(cacheFolder(), "state");
    const given = state === undefined ? null : locate(state).path;
    if (given !== null) await ownerOfEither(given);
    const name = state ?? `${folder} (--state FILE names another place)`;
    await proveWritable(given ?? join(folder, "any.state"), name);
    const { hash: identity, facts } = await identify();
    const run = factsOf(facts);
    const path = given ?? join(folder, `${identity.slice(0, 16)}.state`);
    const owner = await ownerOfEither(path);
    const about = await aboutOfEither(path);
    if (owner !== null && owner !== identity) throw anothers(path, inWords(run, about?.run));
    const saved = resume ? await loadEither<unknown>(path, identity) : null;
    if (saved?.lost) note(`${saved.lost}; going on from the state before it, ${beforeOf(path)}`);
    if (resume && !saved) {
      const near =
        given === null ? await nearestIn(folder, run) : "it is kept when the same command is interrupted";
      throw new BadInputError(`--resume: no state of such a run (${path} is missing); ${near}`);
    }
    if (saved?.facts && isEmpty(saved.facts))
      note(`--resume: the run was ended before it had kept anything (${path}): it begins anew`);
    const before = beforeOf(path);
    if (!(await isOursOrNone(before, identity)))
      note(`${before} is no state of this run and left alone, so no second state is kept beside ${path}`);
    const earlier = saved ? checked<R, S>(saved.facts, path) : { texts: [], numerics: [] };
    const parts = about?.parts ?? {};
    const made = new RunState<R, S>(path, identity, run, outputs, parts, earlier, checkpoints);
    if (owner === null) {
      await made.#write();
      made.#empty = true;
    } else if (saved?.lost === null) made.#left = await fingerprint(path);
    return made;
  }

  /** Sets the numerics that the run is computed under from now on. Returns those of an earlier part that differ; else null. */
  computedUnder(now: Numerics): Numerics | null {
    const { numerics } = this.#earlier;
    const same = (one: Numerics | undefined): boolean => JSON.stringify(one) === JSON.stringify(now);
    if (!same(numerics.at(-1))) this.#numerics = [...numerics, now];
    return numerics.find((one) => !same(one)) ?? null;
  }

  /** The records of one of the run's texts, where an earlier run has read all of it; else null. */
  done(text: number): readonly R[] | null {
    const earlier = this.#earlier.texts[text];
    return earlier && !earlier.snapshot ? earlier.records : null;
  }

  /**
   * The keeper of one of the run's texts: writes the file at a stop, and now and then between two steps. `note` shows a line. What it
   * begins with is the newest copy: an earlier run's, or this one's.
   */
  keeper(text: number, note: (line: string) => void): Keeper<R, S> {
    const earlier = this.#texts[text];
    return {
      earlier: earlier?.snapshot ? { records: earlier.records, snapshot: earlier.snapshot } : null,
      point: async (take) => {
        const every = this.#checkpoints?.everyMs ?? saveEvery();
        const now = performance.now();
        if (now - this.#copiedAt <= Math.min(every, COPY_EVERY_MS)) return;
        this.#texts[text] = await take();
        this.#copied = true;
        this.#copiedAt = performance.now();
        if (now - this.#saved <= every) return;
        try {
          await this.#save();
        } catch (error) {
          // A full disk now is no reason to end a run that goes well.
          note(`the state is not saved: ${(error as Error).message}; the run goes on`);
          this.#saved = performance.now();
        }
      },
      stop: async (take) => {
        this.#texts[text] = await take();
        try {
          this.kept = (await this.#save()) ? "this" : "further";
        } catch (cause) {
          throw new StoppedError(`stopped, but the state is lost: ${(cause as Error).message}`, { cause });
        }
      },
    };
  }

  /** What an earlier run has written behind a text that is done. */
  written(text: number): string | null {
    return this.#earlier.texts[text]?.written ?? null;
  }

  /** Text `text` is read, and `written` behind it: it need not be read again, whatever happens to a later one. */
  finish(text: number, records: readonly R[], written: string | null = null): void {
    this.#texts[text] = { records, snapshot: null, ...(written !== null && { written }) };
    this.#behind = true;
  }

  /** For a run that ends between two saves: what was copied last goes to the file. Whether there is anything to go on from. */
  async keepNewest(): Promise<boolean> {
    if (this.#behind || this.#copied) await this.#save();
    return this.#texts.length > 0;
  }

  /** Whether the file now has this process's state: another one may work on the same run, with the same bits, and the state that is further stays. */
  async #save(): Promise<boolean> {
    const writes =
      (await fingerprint(this.path)) === this.#left || !isFurther(await this.#there(), this.#facts);
    if (writes) await this.#write();
    [this.#empty, this.#behind, this.#copied] = [false, false, false];
    this.#saved = performance.now();
    this.#checkpoints?.saved(this.path);
    return writes;
  }

  get #about(): About {
    return { run: this.#run, parts: { ...this.#leftParts, ...partsOf(this.#outputs) } };
  }

  get #facts(): Facts<R, S> {
    return { texts: this.#texts, numerics: this.#numerics };
  }

  /** What the file holds: nothing where it is missing or damaged. Throws where it is another run's. */
  async #there(): Promise<Facts<R, S>> {
    const owner = await ownerOfEither(this.path);
    if (owner !== null && owner !== this.#identity) {
      const about = await aboutOfEither(this.path);
      throw anothers(this.path, inWords(this.#run, about?.run));
    }
    try {
      const saved = await loadEither<unknown>(this.path, this.#identity);
      if (saved) return checked(saved.facts, this.path);
    } catch {
      // damaged
    }
    return { texts: [], numerics: [] };
  }

  async #write(): Promise<void> {
    const whole = !this.#empty && this.#left !== null && (await fingerprint(this.path)) === this.#left;
    if (whole && (await isOursOrNone(beforeOf(this.path), this.#identity)))
      await keepBefore(this.path).catch(() => undefined); // a full disk, say, may have room for this one
    try {
      await saveRun<Facts<R, S>>(this.path, {
        identity: this.#identity,
        about: this.#about,
        facts: this.#facts,
      });
    } catch (error) {
      throw writeError(this.path, error);
    }
    this.#left = await fingerprint(this.path);
  }

  /** Removes the state of a complete run, and the parts of outputs that killed processes have left. `note` is called when it cannot. */
  async discard(note: (line: string) => void): Promise<void> {
    this.#behind = false;
    try {
      removeLeft(this.#leftParts, this.#outputs);
      if ((await ownerOf(this.path)) === this.#identity) await rm(this.path, { force: true });
      const before = beforeOf(this.path);
      if ((await ownerOf(before).catch(() => null)) === this.#identity) await rm(before, { force: true });
    } catch (error) {
      note(`the state of this run, now complete, is not removed: ${(error as Error).message}`);
    }
  }

  /** After a run that failed, its finished texts are kept; where there is none, no file stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#behind) await this.#save();
    else if (this.#empty && (await fingerprint(this.path)) === this.#left)
      await rm(this.path, { force: true });
  }
}

const isEmpty = (facts: unknown): boolean =>
  asArray(asObject(facts, "facts")["texts"] ?? [], "texts").length === 0;

/** Whether the state at `path` may be replaced: a file of the user's, or another run's, is left alone. */
async function isOursOrNone(path: string, identity: string): Promise<boolean> {
  const owner = await ownerOf(path).catch(() => "");
  return owner === null || owner === identity;
}

const aboutOfEither = async (path: string): Promise<About | null> =>
  (await aboutOf(path)) ?? (await aboutOf(beforeOf(path)));

/** Which state in `folder` is of the run that is most like `run`, and how it differs; else how a state comes to be. */
async function nearestIn(folder: string, run: RunFacts): Promise<string> {
  let nearest = { path: "", how: [] as string[] };
  for (const name of (await readdir(folder)).filter((one) => one.endsWith(".state"))) {
    const path = join(folder, name);
    const about = await aboutOf(path);
    if (!about || !sameWork(run, about.run)) continue;
    const how = differences(run, about.run);
    if (nearest.path === "" || how.length < nearest.how.length) nearest = { path, how };
  }
  if (nearest.path === "") return "it is kept when the same command is interrupted";
  return `there is one of a run on the same model and text in which ${some(nearest.how)} (${nearest.path})`;
}

/** Throws where no file can be made at `path`, or the one that is there not be replaced. */
async function proveWritable(path: string, name: string): Promise<void> {
  try {
    await makeFolder(dirname(path));
    assertWritable(path);
  } catch (error) {
    throw writeError(name, error);
  }
}

/** Changes whenever the file does; null when there is none. */
async function fingerprint(path: string): Promise<string | null> {
  const found = await stat(path, { bigint: true }).catch(() => null);
  return found && `${found.dev} ${found.ino} ${found.mtimeNs}`;
}
