/** Divides a task's arithmetic and the time of its units of work by what they were spent on. */
import type { Meter } from "../engine/meter.ts";
import type { Split } from "./records.ts";

export interface Spent {
  readonly flops: Split;
  readonly seconds: Split;
}

export class Stopwatch implements Spent {
  readonly flops: Split = { base: 0, score: 0, train: 0 };
  readonly seconds: Split = { base: 0, score: 0, train: 0 };
  readonly #meter: Meter;
  #flopsBefore: number;
  #secondsBefore: number;

  /** `earlier`: the amounts to begin with. */
  constructor(meter: Meter, earlier?: Spent) {
    Object.assign(this.flops, earlier?.flops);
    Object.assign(this.seconds, earlier?.seconds);
    this.#meter = meter;
    this.#flopsBefore = meter.flops;
    this.#secondsBefore = meter.seconds;
  }

  /** Adds what was spent since the last booking to `what`. */
  book(what: keyof Split): void {
    const { flops, seconds } = this.#meter;
    this.flops[what] += flops - this.#flopsBefore;
    this.seconds[what] += seconds - this.#secondsBefore;
    this.#flopsBefore = flops;
    this.#secondsBefore = seconds;
  }
}
