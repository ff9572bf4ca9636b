/** What a run reports: one record for each chunk, and their sums. The field names are those of the JSON lines. */

import type { Repetition } from "./repetition.ts";

/** An amount of something, by what it was spent on. */
export interface Split {
  /** The frozen model's pass over the chunk. */
  base: number;
  /** The adapted model's pass (for generate: writing the chunk). */
  score: number;
  /** The optimiser steps. */
  train: number;
}

/** What work cost: arithmetic operations, bytes between memory and processor (both as the kernels declare them), and seconds. */
export interface Spent {
  readonly flops: Split;
  readonly bytes: Split;
  readonly seconds: Split;
}
export const amounts = ["flops", "bytes", "seconds"] as const satisfies readonly (keyof Spent)[];
const purposes = ["base", "score", "train"] as const satisfies readonly (keyof Split)[];

export function nothing(): Spent {
  const none = (): Split => ({ base: 0, score: 0, train: 0 });
  return { flops: none(), bytes: none(), seconds: none() };
}

/** What two pieces of work cost together. */
export function sumOf(a: Spent, b: Spent | undefined): Spent {
  const all = nothing();
  for (const part of b ? [a, b] : [a])
    for (const amount of amounts) for (const what of purposes) all[amount][what] += part[amount][what];
  return all;
}

export interface ChunkRecord extends Spent, Partial<Repetition> {
  readonly index: number;
  /** Index in the text of the chunk's first token. */
  readonly start: number;
  /** Tokens scored: one fewer in a text's first chunk, whose first token has nothing before it. */
  readonly tokens: number;
  /** Context tokens before the chunk. */
  readonly context: number;
  /** Sums over the scored tokens, nats, of the base model and with the adapter; null where it was not computed. */
  readonly base_nll: number | null;
  readonly lora_nll: number | null;
  /** −log p of each scored token, nats, of either model; only where the session was asked for it (`tokenScores`). */
  readonly token_scores?: {
    readonly base: readonly number[] | null;
    readonly lora: readonly number[] | null;
  };
  /** Mean loss before each optimiser step, nats a token. */
  readonly train_loss: readonly number[];
  readonly lr: number;
  /** Optimiser steps that were skipped because their gradients were not finite. */
  readonly skipped_steps: number;
  /** 1 where this chunk's scores have undone the update before it, else 0; only where the recipe has a guard. */
  readonly undone?: number;
}

export interface Perplexities extends Spent {
  readonly tokens: number;
  /** exp(total NLL / tokens). */
  readonly base_ppl: number | null;
  readonly lora_ppl: number | null;
  /** The paper's: the token-weighted mean of the chunks' perplexities. */
  readonly base_mean_chunk_ppl: number | null;
  readonly lora_mean_chunk_ppl: number | null;
  /** 100 · (1 − lora_ppl / base_ppl). */
  readonly reduction_percent: number | null;
  /** How many updates a guard has undone; only where there is one. */
  readonly undone_updates?: number;
}

/** Perplexities of one model over chunks; null when a chunk has no score. */
class Mean {
  #nll = 0;
  #weighted = 0;
  #weights = 0;
  #tokens = 0;
  #off = false;

  add(nll: number | null, tokens: number, weight: number): void {
    if (nll === null) this.#off = true;
    else if (tokens > 0) {
      this.#nll += nll;
      this.#tokens += tokens;
      this.#weighted += Math.exp(nll / tokens) * weight;
      this.#weights += weight;
    }
  }
  get ppl(): number | null {
    return this.#off || this.#tokens === 0 ? null : Math.exp(this.#nll / this.#tokens);
  }
  get meanChunkPpl(): number | null {
    return this.#off || this.#tokens === 0 ? null : this.#weighted / this.#weights;
  }
}

/** What is added up of a chunk, or of a line that was translated. */
export type Scored = Pick<ChunkRecord, "tokens" | "base_nll" | "lora_nll" | "undone" | keyof Spent>;

/** Adds up chunk records: over a text, or over all texts of a run. */
export class Totals {
  readonly #base = new Mean();
  readonly #lora = new Mean();
  #tokens = 0;
  #undone: number | null = null;
  #spent = nothing();

  /** `weight`: what the chunk's perplexity counts in the mean of chunks; default: the tokens scored. */
  add(record: Scored, weight = record.tokens): void {
    this.#base.add(record.base_nll, record.tokens, weight);
    this.#lora.add(record.lora_nll, record.tokens, weight);
    this.#tokens += record.tokens;
    if (record.undone !== undefined) this.#undone = (this.#undone ?? 0) + record.undone;
    this.spend(record);
  }

  /** Adds cost alone. */
  spend(cost: Spent): void {
    this.#spent = sumOf(this.#spent, cost);
  }

  get perplexities(): Perplexities {
    const base = this.#base.ppl;
    const lora = this.#lora.ppl;
    return {
      tokens: this.#tokens,
      base_ppl: base,
      lora_ppl: lora,
      base_mean_chunk_ppl: this.#base.meanChunkPpl,
      lora_mean_chunk_ppl: this.#lora.meanChunkPpl,
      reduction_percent: base !== null && lora !== null ? 100 * (1 - lora / base) : null,
      ...(this.#undone !== null && { undone_updates: this.#undone }),
      ...structuredClone(this.#spent),
    };
  }
}
