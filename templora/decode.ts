/**
 * Writing a text: generate a chunk, train on it, go on with the newer adapter. Chunks tile the whole text, prompt included,
 * so a long prompt is read (and learnt) before the first token is written. Paper §3.2, algorithm 2.
 *
 * Keys and values stay cached within a chunk. An update of the adapter makes them stale: they are recomputed from the last
 * `window` tokens, unless `reuseCache` lets the next updates pass first (paper §3.3, "cache reuse").
 */
import { BadInputError } from "../engine/errors.ts";
import { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Sampler, type SamplingOptions } from "../model/sample.ts";
import { type ChunkSpan, sequence } from "./chunks.ts";
import type { ReadOptions } from "./perplexity.ts";
import type { ChunkRecord } from "./records.ts";
import { Stopwatch } from "./stopwatch.ts";
import { TempLora } from "./trainer.ts";

export interface GenerateOptions extends Omit<ReadOptions, "baseline"> {
  /** Tokens to write. */
  readonly tokens: number;
  /** Updates that cached keys and values outlive; 0 = recompute after every update. */
  readonly reuseCache: number;
  readonly sampling: SamplingOptions;
  /** Writing ends before one of these. */
  readonly stopIds: readonly number[];
  /** Never written. */
  readonly banIds: readonly number[];
}

export type Written =
  { readonly type: "token"; readonly id: number } | { readonly type: "chunk"; readonly record: ChunkRecord };

/** Yields each token as it is chosen, and a record after each update. */
export async function* generate(
  model: Llama,
  prompt: Int32Array,
  options: GenerateOptions,
): AsyncGenerator<Written> {
  const { chunk, window, trainWindow, recipe, seed, templora, tokens, reuseCache, sampling, signal } =
    options;
  if (prompt.length === 0)
    throw new BadInputError("the prompt is empty: give at least one token to go on from");
  const { engine, config } = model;
  const context = Math.max(1, window);
  const capacity = context + chunk * (templora ? reuseCache + 1 : 1);
  if (Math.max(capacity, trainWindow + chunk) > config.max_position_embeddings) {
    throw new BadInputError(
      `window ${window}, chunk ${chunk} and ${reuseCache} reuses of the cache need ${capacity} positions, ` +
        `the model has ${config.max_position_embeddings}: lower --window, --chunk or --reuse-cache`,
    );
  }
  const text = new Int32Array(prompt.length + tokens);
  text.set(prompt);
  let length = prompt.length;
  let learnt = 0;
  const learner = templora ? new TempLora(model, recipe, seed) : null;
  const cache = new KVCache(engine, config, capacity);
  const sampler = new Sampler(
    engine,
    sampling,
    seed,
    options.banIds,
    Math.min(capacity + 1, config.vocab_size),
  );
  let cacheStart = 0;
  let updates = 0;
  let watch = new Stopwatch(engine.meter);
  try {
    while (!signal?.aborted) {
      while (learner && length - learnt >= chunk) {
        const span = { index: learnt / chunk, start: learnt, end: learnt + chunk };
        await watch.spend("score", () => Promise.resolve()); // what writing the chunk took
        yield {
          type: "chunk",
          record: await update(learner, text, span, options, span.end <= prompt.length, watch),
        };
        learnt += chunk;
        updates++;
        if (updates > reuseCache) cache.clear();
        watch = new Stopwatch(engine.meter);
        if (signal?.aborted) return;
      }
      if (length >= prompt.length + tokens) return;
      if (cache.length === 0 || length - cacheStart > capacity) {
        cache.clear();
        updates = 0;
        // The chunk in progress and the `window` tokens before it; without an adapter, everything as long as it fits.
        cacheStart = learner ? Math.max(0, learnt - context) : length <= capacity ? 0 : length - context;
      }
      const unread = text.subarray(cacheStart + cache.length, length);
      const id = await nextToken(model, unread, learner, cache, sampler, text.subarray(cacheStart, length));
      if (options.stopIds.includes(id)) return;
      text[length++] = id;
      yield { type: "token", id };
    }
  } finally {
    sampler.dispose();
    cache.dispose();
    learner?.dispose();
  }
}

/** Reads what the cache has not seen and chooses the token after it. */
async function nextToken(
  model: Llama,
  unread: Int32Array,
  learner: TempLora | null,
  cache: KVCache,
  sampler: Sampler,
  seen: Int32Array,
): Promise<number> {
  using _scope = model.engine.scope();
  const hidden = model.forward(unread, { adapter: learner?.adapter ?? null, cache, from: unread.length - 1 });
  return sampler.next(model.logits(hidden), seen);
}

/** Trains on a finished chunk. A chunk of the prompt is scored first; one that was written needs no score of its own. */
async function update(
  learner: TempLora,
  text: Int32Array,
  span: ChunkSpan,
  { window, trainWindow, recipe }: GenerateOptions,
  isPrompt: boolean,
  watch: Stopwatch,
): Promise<ChunkRecord> {
  const scored = sequence(text, span, window);
  const trained = sequence(text, span, trainWindow);
  const wanted = isPrompt || (recipe.dropout === 0 && scored.context === trained.context);
  const { nll, train_loss, lr } = await learner.learn(wanted ? scored : null, trained, watch);
  return {
    index: span.index,
    start: span.start,
    tokens: scored.targets.length,
    context: scored.context,
    base_nll: null,
    lora_nll: nll,
    train_loss,
    lr,
    flops: watch.flops,
    seconds: watch.seconds,
  };
}
