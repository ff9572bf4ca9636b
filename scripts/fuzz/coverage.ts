/** Which counters an input has moved, and how far: what none before it did makes it worth keeping. */
import { COUNTERS } from "./counters.ts";

/** Counts that are told apart: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, more. */
const bucket = (count: number): number =>
  count < 4 ? 1 << (count - 1) : count < 8 ? 8 : count < 16 ? 16 : count < 32 ? 32 : count < 128 ? 64 : 128;

export class Coverage {
  readonly #counters: Uint32Array;
  readonly #seen: Uint8Array;
  /** Counters that were ever moved. */
  reached = 0;

  constructor(counters: number) {
    const all = (globalThis as unknown as Record<string, Uint32Array | undefined>)[COUNTERS];
    this.#counters = all?.subarray(0, counters) ?? new Uint32Array();
    this.#seen = new Uint8Array(counters);
  }

  /** Before an input. */
  clear(): void {
    this.#counters.fill(0);
  }

  /** After it: whether it did what none before it has. `coarse`: how often does not count. */
  take(coarse = false): boolean {
    const [counters, seen] = [this.#counters, this.#seen];
    let fresh = false;
    for (let i = 0; i < counters.length; i++) {
      const count = counters[i] as number;
      if (count === 0) continue;
      const bit = coarse ? 1 : bucket(count);
      const before = seen[i] as number;
      if ((before & bit) !== 0) continue;
      if (before === 0) this.reached++;
      seen[i] = before | bit;
      fresh = true;
    }
    return fresh;
  }

  everReached(): number[] {
    return [...this.#seen.keys()].filter((i) => this.#seen[i] !== 0);
  }

  /** The counters that the last input has moved. */
  moved(): number[] {
    return [...this.#counters.keys()].filter((i) => this.#counters[i] !== 0);
  }

  /** Whether any input has moved one of these. */
  hasReached(first: number, next: number): boolean {
    return this.#seen.subarray(first, next).some((seen) => seen !== 0);
  }
}
