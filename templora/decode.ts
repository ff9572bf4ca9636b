/**
 * Writing a text: generate a chunk, train on it, go on with the newer adapter. Chunks tile the whole text, prompt included,
 * so a long prompt is read (and learnt) before the first token is written. Paper §3.2, algorithm 2.
 *
 * Keys and values stay cached within a chunk. An update of the adapter makes them stale: they are recomputed from the last
 * `window` tokens, unless `reuseCache` lets the next updates pass first (paper §3.3, "cache reuse"). Where the cache is empty,
 * the text and the learner are the whole state: from there an interrupted run goes on.
 */
import { BadInputError } from "../engine/errors.ts";
import { Decoder } from "../model/decoder.ts";
import { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Sampler, type SamplingOptions } from "../model/sample.ts";
import { type ChunkSpan, sequence } from "./chunks.ts";
import type { ReadOptions } from "./perplexity.ts";
import type { ChunkRecord } from "./records.ts";
import type { Snapshot, Take } from "./state.ts";
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
  const { chunk, window, trainWindow, recipe, seed, templora, tokens, reuseCache, sampling, signal, keeper } =
    options;
  if (prompt.length === 0)
    throw new BadInputError("the prompt is empty: give at least one token to go on from");
  const { task, config } = model;
  const context = Math.max(1, window);
  const capacity = context + chunk * (templora ? reuseCache + 1 : 1);
  if (Math.max(capacity, trainWindow + chunk) > config.max_position_embeddings) {
    throw new BadInputError(
      `window ${window}, chunk ${chunk} and ${reuseCache} reuses of the cache need ${capacity} positions, ` +
        `the model has ${config.max_position_embeddings}: lower --window, --chunk or --reuse-cache`,
    );
  }
  const earlier = keeper?.earlier ?? { tokens: [], records: [], snapshot: null };
  const text = new Int32Array(prompt.length + tokens);
  text.set(prompt);
  text.set(earlier.tokens, prompt.length);
  let length = prompt.length + earlier.tokens.length;
  const records = [...earlier.records];
  let learnt = records.length * chunk;
  const constants = { capacity: trainWindow + chunk, reuse: 0 };
  const learner = templora ? new TempLora(model, recipe, seed, constants) : null;
  const cache = new KVCache(task, config, capacity, { outlivesUpdates: reuseCache > 0 });
  const decoder = new Decoder(model, cache, learner?.adapter ?? null);
  const sampler = new Sampler(
    task,
    sampling,
    seed,
    options.banIds,
    Math.min(capacity + 1, config.vocab_size),
  );
  sampler.draws = earlier.tokens.length;
  let cacheStart = 0;
  let updates = 0;
  let watch: Stopwatch | null = null;
  let kept: Snapshot | null = null;
  const take: Take = async () => kept ?? learner?.snapshot() ?? null;
  try {
    if (earlier.snapshot) learner?.restore(earlier.snapshot);
    for (;;) {
      if (updates > reuseCache || length - cacheStart > capacity) cache.clear();
      if (keeper && cache.length === 0) {
        // The learner stays as it is until the next boundary, unless the cache outlives updates.
        kept = learner && reuseCache > 0 ? await learner.snapshot() : null;
        await keeper.boundary(
          { records: [...records], tokens: [...text.subarray(prompt.length, length)] },
          take,
        );
      }
      if (signal?.aborted) break; // here, where an update has become a boundary
      watch ??= new Stopwatch(task.meter);
      if (learner && length - learnt >= chunk) {
        const span = { index: learnt / chunk, start: learnt, end: learnt + chunk };
        await watch.spend("score", () => Promise.resolve()); // what writing the chunk took
        const record = await update(learner, text, span, options, span.end <= prompt.length, watch);
        watch = null;
        records.push(record);
        yield { type: "chunk", record };
        learnt += chunk;
        updates++;
        continue;
      }
      if (length >= prompt.length + tokens) break;
      if (cache.length === 0) {
        updates = 0;
        // The chunk in progress and the `window` tokens before it; without an adapter, everything as long as it fits.
        cacheStart = learner ? Math.max(0, learnt - context) : length <= capacity ? 0 : length - context;
      }
      const unread = text.subarray(cacheStart + cache.length, length);
      const id = await nextToken(model, decoder, sampler, unread, text.subarray(cacheStart, length));
      if (options.stopIds.includes(id)) break;
      text[length++] = id;
      yield { type: "token", id };
    }
    if (signal?.aborted) await keeper?.stop(take);
  } finally {
    sampler.dispose();
    decoder.dispose();
    cache.dispose();
    learner?.dispose();
  }
}

/** Reads what the cache has not seen and chooses the token after it. */
async function nextToken(
  model: Llama,
  decoder: Decoder,
  sampler: Sampler,
  unread: Int32Array,
  seen: Int32Array,
): Promise<number> {
  using _scope = model.task.scope();
  return await sampler.next(model.logits(decoder.read(unread)), seen);
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
