/** Books time and arithmetic under what they were spent on. */
import type { Meter } from "../engine/meter.ts";
import type { Split } from "./records.ts";

export class Stopwatch {
  readonly flops: Split = { base: 0, score: 0, train: 0 };
  readonly seconds: Split = { base: 0, score: 0, train: 0 };
  readonly #meter: Meter;
  #flopsBefore: number;
  #before: number;

  constructor(meter: Meter) {
    this.#meter = meter;
    this.#flopsBefore = meter.flops;
    this.#before = performance.now();
  }

  /** Runs `work`; everything since the last booking (issued work included) goes under `what`. */
  async spend<T>(what: keyof Split, work: () => Promise<T>): Promise<T> {
    const result = await work();
    const now = performance.now();
    this.flops[what] += this.#meter.flops - this.#flopsBefore;
    this.seconds[what] += (now - this.#before) / 1000;
    this.#flopsBefore = this.#meter.flops;
    this.#before = now;
    return result;
  }
}
