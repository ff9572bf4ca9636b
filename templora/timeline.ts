/**
 * How much of a piece of work is done, where the same work was done before: after so many kernels, the share of the time that as many took
 * then. The kernels of an update differ in length, but their order and the share of each stay as they are from chunk to chunk.
 */
export class Timeline {
  /** Where the share is told: one number. */
  readonly #progress: Float64Array;
  /** When each kernel began, in milliseconds: in this work, and in the one before, with its end. */
  #now: number[] = [];
  #before: readonly number[] = [];
  #clock: () => number = () => 0;

  constructor(progress: Float64Array) {
    this.#progress = progress;
  }

  /** A kernel begins. */
  tick(): void {
    const all = this.#before.at(-1) ?? 0;
    this.#progress[0] = all > 0 ? (this.#before[this.#now.length] ?? all) / all : 1;
    this.#now.push(this.#clock());
  }

  /** Does the work, and keeps its times for the next. */
  async measure<T>(work: () => Promise<T>, clock = () => performance.now()): Promise<T> {
    const began = clock();
    this.#progress[0] = 0;
    [this.#now, this.#clock] = [[], () => clock() - began];
    const result = await work();
    this.#before = [...this.#now, clock() - began];
    return result;
  }
}
