/**
 * Whether a text that a model writes has begun to repeat itself. Greedy decoding falls into loops, and each turn of a loop makes the next one
 * likelier (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751, figure 4); a model that also learns what it has written learns
 * the loop. Two figures tell: distinct-n, the share of distinct n-grams among all (Li et al. 2016,
 * https://arxiv.org/abs/1510.03055), which falls, and the entropy of the model's next token, which falls with it.
 */
import type { ChunkSpan } from "./chunks.ts";
import type { GrowingText } from "./growing_text.ts";

/** What a repeating chunk leads to: it is told and learnt; it is told and not learnt; the text ends with it. */
export const answers: readonly RepetitionAnswer[] = ["report", "skip", "stop"];
export type RepetitionAnswer = "report" | "skip" | "stop";

/** n of the n-grams. */
const N = 4;
/** Tokens among which they are counted: the newest that were written. */
const WINDOW = 256;
/** With fewer there is no judgement. */
const FEWEST = 128;
/**
 * A smaller share of distinct 4-grams is repetition. Of 11,198 runs of 256 tokens of 28 books (PG19, SmolLM2's tokens) none has less than
 * 0.63, nor one of 22,409 of 128 tokens less than 0.65; half of all 4-grams is a loop of up to 126 tokens, twice (docs/log.md).
 */
const LEAST_DISTINCT = 0.5;
/**
 * An entropy below this share of what it was before is repetition, too, and often the first to be seen: what follows is certain, though
 * the loop is not yet half of the newest 256 tokens.
 */
const LEAST_ENTROPY = 1 / 4;
/** Tokens of a chunk that must have been written for that judgement, and FEWEST before it. */
const FEWEST_OF_CHUNK = 32;

/** Of a chunk in which the session has written. Keys are those of the JSON lines. */
export interface Repetition {
  /** The smallest share of distinct 4-grams among 256 tokens one after the other that were written; null where those are fewer than 128. */
  readonly distinct_4: number | null;
  /** Mean entropy of the model's next token where the chunk's own tokens were chosen, nats; null where it was not finite. */
  readonly entropy: number | null;
  /** 1 where the text repeats itself, else 0. */
  readonly repeats: number;
}

/** The share of n-grams that differ from all others before them; 1 where there is none. */
export function distinct(ids: Int32Array, n = N): number {
  const count = ids.length - n + 1;
  if (count < 1) return 1;
  return new Set(Array.from({ length: count }, (_, i) => ids.subarray(i, i + n).join())).size / count;
}

/** Of some tokens that were written: their entropies, nats, and how many they are. */
export interface EntropySum {
  readonly sum: number;
  readonly tokens: number;
}
const none: EntropySum = { sum: 0, tokens: 0 };
const plus = (a: EntropySum, b: EntropySum): EntropySum => ({
  sum: a.sum + b.sum,
  tokens: a.tokens + b.tokens,
});

/** Entropies of what was written: in the chunk in progress, and in those before it that did not repeat themselves. */
export interface Entropies {
  readonly chunk: EntropySum;
  readonly before: EntropySum;
}

/** Watches what a session writes. */
export class RepetitionWatch {
  #chunk = none;
  #before = none;

  /** A token was written where the model's next token had this entropy, nats. */
  wrote(entropy: number): void {
    this.#chunk = plus(this.#chunk, { sum: entropy, tokens: 1 });
  }

  /**
   * What there is to say of the chunk that ends; null where the session has written none of it. 4-grams are counted among the newest tokens that
   * were written without a break, which may be more than the chunk's; a longer chunk is looked at piece by piece, from its end.
   */
  endOf({ start, end: last }: ChunkSpan, text: GrowingText): Repetition | null {
    const [chunk, before] = [this.#chunk, this.#before];
    this.#chunk = none;
    if (chunk.tokens === 0) return null;
    let least: number | null = null;
    const written = text.newest(last - start + WINDOW, last);
    for (let end = written.length; written.length - end < last - start && end >= FEWEST; end -= WINDOW)
      least = Math.min(least ?? 1, distinct(written.subarray(Math.max(0, end - WINDOW), end)));
    const entropy = chunk.sum / chunk.tokens;
    const enough = chunk.tokens >= FEWEST_OF_CHUNK && before.tokens >= FEWEST;
    const fell = enough && entropy < (LEAST_ENTROPY * before.sum) / before.tokens;
    const repeats = fell || (least !== null && least < LEAST_DISTINCT);
    if (!repeats && Number.isFinite(entropy)) this.#before = plus(before, chunk);
    return {
      distinct_4: least,
      entropy: Number.isFinite(entropy) ? entropy : null,
      repeats: Number(repeats),
    };
  }

  snapshot(): Entropies {
    return { chunk: this.#chunk, before: this.#before };
  }

  /** Becomes what the snapshot was taken of. */
  restore({ chunk, before }: Entropies): void {
    [this.#chunk, this.#before] = [chunk, before];
  }
}
