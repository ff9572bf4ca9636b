/** How long the reader of a text waits from one token to the next. */
import { quantile } from "../bench/harness.ts";

/** Seconds. */
export interface Latencies {
  readonly median: number;
  readonly longest: number;
}

/** Field names are those of the JSON lines. */
export interface Latency extends Latencies {
  readonly p95: number;
  /** `start`: index in the text of the first token of the chunk, or of its first one that was written. */
  readonly chunks: readonly (Latencies & { readonly start: number })[];
}

export class LatencyMeter {
  readonly #chunk: number;
  /** Where chunks begin to be counted. */
  readonly #from: number;
  /** Waits for the tokens of each chunk, in seconds. */
  readonly #waits = new Map<number, { readonly start: number; readonly seconds: number[] }>();
  #last: number | null = null;

  constructor(chunk: number, from: number) {
    this.#chunk = chunk;
    this.#from = from;
  }

  /** The token at this index of the text was chosen. The first one waited for all that is given, which is not counted. */
  token(index: number, now = performance.now()): void {
    const before = this.#last;
    this.#last = now;
    if (before === null) return;
    const chunk = Math.floor((index - this.#from) / this.#chunk);
    const waits = this.#waits.get(chunk) ?? { start: index, seconds: [] };
    waits.seconds.push((now - before) / 1000);
    this.#waits.set(chunk, waits);
  }

  /** Null where there is no token after the first. */
  get figures(): Latency | null {
    const chunks = [...this.#waits.values()];
    const all = chunks.flatMap(({ seconds }) => seconds);
    if (all.length === 0) return null;
    return {
      ...{ median: quantile(all, 0.5), p95: quantile(all, 0.95), longest: quantile(all, 1) },
      chunks: chunks.map(({ start, seconds }) => ({
        ...{ start, median: quantile(seconds, 0.5), longest: quantile(seconds, 1) },
      })),
    };
  }
}
