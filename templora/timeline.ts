/**
 * How much of a piece of work is done, where work of its kind was done before: after so many kernels, the share of the time that as many
 * took then. The kernels of an update differ in length, but their order and the share of each stay as they are from chunk to chunk. The
 * longest take as long as several tokens, so what is told is also how far a kernel will bring the work, and when.
 */

/** Milliseconds that mean the same in every thread of a process. */
export const sharedTime = (): number => performance.timeOrigin + performance.now();

/** What is told, in shared memory: at `since`, when `from` of the work was done, a kernel began that brings it to `to` in `lasting` ms. */
const [FROM, TO, SINCE, LASTING] = [0, 1, 2, 3];

/** Memory for what a Timeline tells. */
export const toldProgress = (): Float64Array =>
  new Float64Array(new SharedArrayBuffer(4 * Float64Array.BYTES_PER_ELEMENT));

/** To be told before work begins. */
export const nothingDone = (told: Float64Array): void => void told.fill(0);

/** The share that is done by what was told; within a kernel by the time that it has had. */
export function shareOf(told: Float64Array, now = sharedTime()): number {
  const [from = 0, to = 0, since = 0, lasting = 0] = told;
  return lasting > 0 ? from + (to - from) * Math.min(1, Math.max(0, (now - since) / lasting)) : from;
}

export class Timeline {
  readonly #told: Float64Array;
  readonly #threads: () => number;
  /** What the kernels of each kind of work took last, in milliseconds of one thread. The first is what came before them. */
  readonly #known = new Map<string, readonly number[]>();
  /** The same, of the work in progress: so far, and as it was before. */
  #now: number[] = [];
  #before: readonly number[] = [];
  /** Of `#before`: all of it, and what came before the kernel that runs. */
  #all = 0;
  #passed = 0;
  /** When that began, and on how many threads. */
  #since = 0;
  #on = 1;
  #clock: () => number = sharedTime;

  /** `threads`: how many a kernel has that begins now. */
  constructor(told: Float64Array, threads = (): number => 1) {
    this.#told = told;
    this.#threads = threads;
  }

  /** A kernel begins. */
  tick(): void {
    this.#ends();
    this.#begins();
  }

  /** Tells what begins now: a kernel, or what comes before the first. */
  #begins(): void {
    const lasting = this.#before[this.#now.length] ?? 0;
    const told = this.#told;
    told[LASTING] = 0; // whoever reads it now sees a kernel that stands still
    told[FROM] = this.#all > 0 ? this.#passed / this.#all : 0;
    this.#passed += lasting;
    told[TO] = this.#all > 0 ? this.#passed / this.#all : 0;
    told[SINCE] = this.#since;
    told[LASTING] = lasting / this.#on;
  }

  /** Whether work of this kind was done before. */
  knows(kind: string): boolean {
    return this.#known.has(kind);
  }

  /** Does the work, and keeps its times for the next of its kind: whatever runs the same kernels on the same sizes. */
  async measure<T>(kind: string, work: () => Promise<T>, clock = sharedTime): Promise<T> {
    this.#before = this.#known.get(kind) ?? [];
    this.#all = this.#before.reduce((sum, time) => sum + time, 0);
    [this.#now, this.#passed, this.#clock] = [[], 0, clock];
    [this.#since, this.#on] = [clock(), this.#threads()];
    this.#begins();
    const result = await work();
    this.#ends();
    this.#known.set(kind, this.#now);
    return result;
  }

  /** What ran until now has ended. */
  #ends(): void {
    const now = this.#clock();
    this.#now.push((now - this.#since) * this.#on);
    [this.#since, this.#on] = [now, this.#threads()];
  }
}
