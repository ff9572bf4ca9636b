/** Divides what a task's units of work cost by what they were done for. */
import type { Meter } from "../engine/meter.ts";
import { type Spent, type Split, amounts, nothing } from "./records.ts";

export class Stopwatch {
  readonly #meter: Meter;
  readonly #spent: Spent;
  #before: Readonly<Record<keyof Spent, number>>;

  /** `earlier`: the amounts to begin with. */
  constructor(meter: Meter, earlier: Spent = nothing()) {
    this.#meter = meter;
    this.#spent = structuredClone(earlier);
    this.#before = this.#now();
  }

  /** A copy of what is booked. */
  get spent(): Spent {
    return structuredClone(this.#spent);
  }

  /** Adds what was spent since the last booking to `what`. */
  book(what: keyof Split): void {
    const now = this.#now();
    for (const amount of amounts) this.#spent[amount][what] += now[amount] - this.#before[amount];
    this.#before = now;
  }

  #now(): Record<keyof Spent, number> {
    const { flops, bytes, seconds } = this.#meter;
    return { flops, bytes, seconds };
  }
}
