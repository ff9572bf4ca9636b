/** The work that the suites time, through the same functions that the commands call: writing tokens, reading chunks. */
import type { Llama } from "../model/llama.ts";
import type { Recipe } from "../templora/config.ts";
import { type Written, writeTokens } from "../templora/decode.ts";
import { readTokens } from "../templora/perplexity.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { Session } from "../templora/session.ts";
import type { BenchOptions } from "./suite.ts";

/** Any tokens: the work does not depend on which. */
export function someTokens(model: Llama, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => (i * 7919) % model.config.vocab_size);
}

/** A session, and its steps. */
export interface Work<T> {
  readonly session: Session;
  readonly steps: AsyncGenerator<T>;
}

/** Writes `tokens` after `prompt`, greedily: with the base model, or through a fresh adapter that is never trained. */
export function write(
  model: Llama,
  prompt: Int32Array,
  tokens: number,
  recipe: Recipe,
  templora: boolean,
): Work<Written> {
  // One chunk that does not end: nothing is trained on, no key is computed twice.
  const chunk = prompt.length + tokens;
  const session = new Session(model, { chunk, window: 0, recipe, templora, baseline: false });
  return { session, steps: writeTokens(session, prompt, { tokens }) };
}

/** Reads `chunks` chunks with Temp-LoRA; the first ones have less than the whole window before them. */
export function read(model: Llama, chunks: number, options: BenchOptions): Work<ChunkRecord> {
  const { chunk, window, recipe, seed, reuseCache, checkpointLayers } = options;
  const session = new Session(model, {
    ...{ chunk, window, recipe, seed, reuseCache, checkpointLayers },
    baseline: false,
  });
  return { session, steps: readTokens(session, someTokens(model, chunks * chunk)) };
}

/** Chunks until the window is full. */
export const chunksToFill = ({ chunk, window }: BenchOptions): number => Math.ceil(window / chunk);
