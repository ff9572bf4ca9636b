/** The work that the suites time, through the same functions that the commands call: writing tokens, reading chunks. */
import type { Device } from "../engine/device.ts";
import { Task } from "../engine/task.ts";
import { openCheckpoint } from "../model/checkpoint.ts";
import { Llama } from "../model/llama.ts";
import type { Recipe } from "../templora/config.ts";
import { type Written, generate } from "../templora/decode.ts";
import { readTokens } from "../templora/perplexity.ts";
import type { ChunkRecord } from "../templora/records.ts";
import type { BenchOptions } from "./suite.ts";

/** Some tokens: nothing of the work depends on which. */
export function someTokens(model: Llama, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => (i * 7919) % model.config.vocab_size);
}

export async function loadModel(
  device: Device,
  { model: source, checkpointLayers }: BenchOptions,
): Promise<Llama> {
  const checkpoint = await openCheckpoint(source);
  try {
    const model = await Llama.load(new Task(device), checkpoint);
    model.checkpointLayers = checkpointLayers;
    return model;
  } finally {
    await checkpoint.close();
  }
}

/** How all of them choose. */
export const greedy = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };

/** Writes `tokens` after `prompt`, greedily: with the base model, or through a fresh adapter that is never trained. */
export function write(
  model: Llama,
  prompt: Int32Array,
  tokens: number,
  recipe: Recipe,
  templora: boolean,
): AsyncGenerator<Written> {
  // One chunk that does not end: nothing is trained on, no key is computed twice.
  const chunk = prompt.length + tokens;
  return generate(model, prompt, {
    ...{ chunk, window: 0, trainWindow: 0, seed: 0, tokens, reuseCache: 0 },
    ...{ recipe, templora },
    ...{ sampling: greedy, stopIds: [], banIds: [] },
  });
}

/** Reads `chunks` chunks with Temp-LoRA; the first ones have less than the whole window before them. */
export function read(
  model: Llama,
  chunks: number,
  { chunk, window, recipe, seed, reuseCache }: BenchOptions,
): AsyncGenerator<ChunkRecord> {
  const ids = someTokens(model, chunks * chunk);
  const reading = {
    chunk,
    window,
    trainWindow: window,
    recipe,
    seed,
    reuseCache,
    baseline: false,
    templora: true,
  };
  return readTokens(model, ids, reading);
}

/** Chunks until the window is full. */
export const chunksToFill = ({ chunk, window }: BenchOptions): number => Math.ceil(window / chunk);
