/**
 * Reading a text: chunk by chunk the base model's loss, the adapted model's loss, then training. The base pass and the
 * adapted pass see the same context.
 */
import { BadInputError } from "../engine/errors.ts";
import type { Llama } from "../model/llama.ts";
import { chunkSpans, sequence } from "./chunks.ts";
import type { Recipe } from "./config.ts";
import type { ChunkRecord } from "./records.ts";
import type { Keeper, Snapshot, Take } from "./state.ts";
import { Stopwatch } from "./stopwatch.ts";
import { TempLora, score } from "./trainer.ts";

export interface ReadOptions {
  /** Δ, tokens. */
  readonly chunk: number;
  /** Context tokens when scoring. */
  readonly window: number;
  /** Context tokens when training. */
  readonly trainWindow: number;
  readonly recipe: Recipe;
  readonly seed: number;
  /** Score the base model too. */
  readonly baseline: boolean;
  /** Train and score an adapter. */
  readonly templora: boolean;
  /** Updates that a constant context (recipe.context_grad off) outlives in the cache; default 0. */
  readonly reuseCache?: number;
  /** Stops between chunks when reading, between tokens when writing. */
  readonly signal?: AbortSignal | undefined;
  /** Keeps the run's state, and has what an earlier run kept. */
  readonly keeper?: Keeper | undefined;
}

/** Yields a record a chunk. The adapter lives as long as the iteration. */
export async function* readTokens(
  model: Llama,
  ids: Int32Array,
  options: ReadOptions,
): AsyncGenerator<ChunkRecord> {
  checkFits(model, options);
  const { chunk, window, trainWindow, recipe, seed, baseline, templora, signal, keeper } = options;
  const { reuseCache = 0 } = options;
  const context = { capacity: trainWindow + chunk, reuse: reuseCache };
  const learner = templora ? new TempLora(model, recipe, seed, context) : null;
  let kept: Snapshot | null = null; // of the last boundary, where the learner goes on before the next
  const take: Take = async () => kept ?? learner?.snapshot() ?? null;
  const records = [...(keeper?.earlier.records ?? [])];
  try {
    if (keeper?.earlier.snapshot) learner?.restore(keeper.earlier.snapshot);
    for (const span of chunkSpans(ids.length, chunk)) {
      if (span.index < records.length) continue;
      if (signal?.aborted) break;
      const watch = new Stopwatch(model.task.meter);
      const scored = sequence(ids, span, window);
      const trained = sequence(ids, span, trainWindow);
      const base_nll = baseline ? await watch.spend("base", () => score(model, scored, null)) : null;
      const learnt = learner ? await learner.learn(scored, trained, watch) : null;
      const record = {
        index: span.index,
        start: span.start,
        tokens: scored.targets.length,
        context: scored.context,
        base_nll,
        lora_nll: learnt?.nll ?? null,
        train_loss: learnt?.train_loss ?? [],
        lr: learnt?.lr ?? 0,
        flops: watch.flops,
        seconds: watch.seconds,
      };
      records.push(record);
      if (keeper && (learner?.atBoundary ?? true)) {
        kept = learner && reuseCache > 0 ? await learner.snapshot() : null;
        await keeper.boundary({ records: [...records], tokens: [] }, take);
      }
      yield record;
    }
    if (signal?.aborted) await keeper?.stop(take);
  } finally {
    learner?.dispose();
  }
}

/** A window that the model has no positions for is bad input. */
export function checkFits(
  model: Llama,
  { chunk, window, trainWindow }: { chunk: number; window: number; trainWindow: number },
): void {
  const positions = model.config.max_position_embeddings;
  const widest = Math.max(window, trainWindow);
  if (widest + chunk > positions) {
    throw new BadInputError(
      `window ${widest} + chunk ${chunk} exceed the model's ${positions} positions: lower --window or --chunk`,
    );
  }
}
