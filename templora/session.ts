/**
 * A session: one text in progress on a shared model — its ids, adapter, cache, sampler and learner — moved on in steps. Reading
 * (perplexity.ts), writing (decode.ts) and whatever serves several texts at once are loops over these steps. Sessions on one
 * device may run at the same time: their units of work take turns, and each has the bits that it would have alone.
 *
 * Chunks tile the text from its beginning. Keys and values stay cached within a chunk. An update of the adapter makes them stale:
 * they are computed again from the last `window` tokens, unless `reuseCache` lets the next updates pass first (paper §3.3,
 * "cache reuse").
 */
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import { Decoder } from "../model/decoder.ts";
import { type CacheSnapshot, KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Sampler, type SamplingOptions, greedy } from "../model/sample.ts";
import { type ChunkSpan, sequence } from "./chunks.ts";
import { type Recipe, recipes } from "./config.ts";
import type { ChunkRecord } from "./records.ts";
import { type Spent, Stopwatch } from "./stopwatch.ts";
import { type LearnerSnapshot, TempLora, score } from "./trainer.ts";

export interface SessionOptions {
  /** Δ, tokens. */
  readonly chunk: number;
  /** Context tokens before a chunk, when scoring and writing. */
  readonly window: number;
  /** Context tokens when training. */
  readonly trainWindow: number;
  readonly recipe: Recipe;
  readonly seed: number;
  /** Train an adapter. */
  readonly templora: boolean;
  /** Score every chunk that is learnt with the frozen model too. */
  readonly baseline: boolean;
  /** Updates that cached keys and values outlive; 0 = computed again after every update. */
  readonly reuseCache?: number;
  /** First layers whose activations are computed again in the backward: less memory, more time, the same numbers. */
  readonly checkpointLayers?: number;
  /** Default: greedy. */
  readonly sampling?: SamplingOptions;
  /** Writing ends before one of these. */
  readonly stopIds?: readonly number[];
  /** Never written. */
  readonly banIds?: readonly number[];
}

/** Everything that what comes next depends on, on the host. */
export interface SessionSnapshot {
  readonly ids: Int32Array;
  /** 1 for each of `ids` that the session has written itself. */
  readonly written: Int32Array;
  readonly learnt: number;
  /** On the chunk in progress. */
  readonly spent: Spent | null;
  /** Draws that the sampler has made. */
  readonly draws: number;
  readonly learner: LearnerSnapshot | null;
  /** What writing has cached, the text's first cached token, and updates since; null before the first token. */
  readonly cache: (CacheSnapshot & { readonly start: number; readonly updates: number }) | null;
}

/** What writing needs; made for the first token. */
interface Writing {
  readonly cache: KVCache;
  readonly decoder: Decoder;
  readonly sampler: Sampler;
}

export class Session implements Disposable {
  readonly model: Llama;
  readonly options: SessionOptions;
  readonly task: Task;
  readonly learner: TempLora | null;
  readonly #context: number;
  readonly #capacity: number;
  readonly #owned: DisposableStack;
  #text = new Int32Array(1024);
  #written = new Int32Array(1024);
  #length = 0;
  /** Tokens trained on, or passed over by `learn` where there is no adapter. */
  #learnt = 0;
  #writing: Writing | null = null;
  /** The text's token in the cache's first row. */
  #cacheStart = 0;
  /** Updates since the cache was empty. */
  #updates = 0;
  /** Of the chunk in progress. */
  #watch: Stopwatch | null = null;
  #busy: string | null = null;

  /** The caller disposes of it. What is not given is the paper's, as far as the model's positions allow. */
  constructor(model: Llama, given: Partial<SessionOptions> = {}) {
    const options = complete(given, model.config.max_position_embeddings);
    const {
      chunk,
      window,
      trainWindow,
      recipe,
      seed,
      templora,
      reuseCache = 0,
      checkpointLayers = 0,
    } = options;
    this.#context = Math.max(1, window);
    this.#capacity = this.#context + chunk * (templora ? reuseCache + 1 : 1);
    const positions = model.config.max_position_embeddings;
    const widest = Math.max(window, trainWindow);
    if (widest + chunk > positions)
      throw new BadInputError(
        `window ${widest} + chunk ${chunk} exceed the model's ${positions} positions: lower window or chunk`,
      );
    using stack = new DisposableStack();
    this.model = model;
    this.options = options;
    this.task = stack.use(new Task(model.device));
    const context = { capacity: trainWindow + chunk, reuse: reuseCache };
    this.learner = templora
      ? stack.use(new TempLora(this.task, model, recipe, seed, { context, checkpointLayers }))
      : null;
    this.#owned = stack.move();
  }

  /** The text so far. */
  get ids(): Int32Array {
    return this.#text.slice(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  /** Tokens that the learner has seen. */
  get learnt(): number {
    return this.#learnt;
  }

  /** A whole chunk waits to be learnt: `next` would leave it behind. */
  get due(): boolean {
    return this.learner !== null && this.#length - this.#learnt >= this.options.chunk;
  }

  /** Adds given tokens to the text; they are computed with when something needs them. */
  prefill(ids: Int32Array): void {
    this.model.assertIds(ids);
    this.#append(ids, 0);
  }

  /** Chooses the next token and adds it to the text; null = one of `stopIds`, where the text ends. */
  next(): Promise<number | null> {
    return this.#step("next", () =>
      this.task.unit(async () => {
        if (this.#length === 0)
          throw new BadInputError("the prompt is empty: give at least one token to go on from");
        this.#watch ??= new Stopwatch(this.task.meter);
        this.#writing ??= this.#startWriting();
        const { cache, decoder, sampler } = this.#writing;
        this.#makeRoom(cache);
        const unread = this.#text.slice(this.#cacheStart + cache.length, this.#length);
        const seen = this.#text.subarray(this.#cacheStart, this.#length);
        using _scope = this.task.scope();
        const id = await sampler.next(this.model.logits(decoder.read(unread)), seen);
        if (this.options.stopIds?.includes(id)) return null;
        this.#append([id], 1);
        return id;
      }),
    );
  }

  /**
   * Learns the next chunk (at the text's end what there is of it): scores it, then trains on it. What the session wrote itself is
   * scored only where the score is the training's first pass.
   */
  learn(): Promise<ChunkRecord> {
    return this.#step("learn", async () => {
      const { chunk, window, trainWindow, recipe, baseline } = this.options;
      const { task, model, learner } = this;
      const start = this.#learnt;
      if (start >= this.#length) throw new Error("there is nothing to learn: prefill() or next() first");
      const span: ChunkSpan = { index: start / chunk, start, end: Math.min(this.#length, start + chunk) };
      const text = this.#text.subarray(0, this.#length);
      const scored = sequence(text, span, window);
      const trained = sequence(text, span, trainWindow);
      const watch = this.#watch ?? new Stopwatch(task.meter);
      watch.book("score"); // what writing the chunk took
      let base_nll: number | null = null;
      if (baseline) {
        base_nll = await task.unit(() => score(task, model, scored, null));
        watch.book("base");
      }
      const given = !this.#written.subarray(start, span.end).includes(1);
      const shared = recipe.dropout === 0 && scored.context === trained.context;
      const learnt = await learner?.learn(given || shared ? scored : null, trained, watch);
      this.#learnt = span.end;
      this.#updates++;
      this.#watch = null;
      return {
        index: span.index,
        start,
        tokens: scored.targets.length,
        context: scored.context,
        base_nll,
        lora_nll: learnt?.nll ?? null,
        train_loss: learnt?.train_loss ?? [],
        lr: learnt?.lr ?? 0,
        skipped_steps: learnt?.skipped_steps ?? 0,
        flops: watch.flops,
        seconds: watch.seconds,
      };
    });
  }

  /** A copy of the session's state between two steps. */
  snapshot(): Promise<SessionSnapshot> {
    return this.#step("snapshot", () =>
      this.task.unit(async () => ({
        spent: this.#spent(),
        ids: this.ids,
        written: this.#written.slice(0, this.#length),
        learnt: this.#learnt,
        draws: this.#writing?.sampler.draws ?? 0,
        learner: (await this.learner?.snapshot()) ?? null,
        cache: this.#writing && {
          ...(await this.#writing.cache.snapshot()),
          start: this.#cacheStart,
          updates: this.#updates,
        },
      })),
    );
  }

  /** Becomes what `snapshot` was taken of, in a session with the same options on the same model. */
  restore({ ids, written, learnt, spent, draws, learner, cache }: SessionSnapshot): Promise<void> {
    return this.#step("restore", () =>
      this.task.unit(async () => {
        this.model.assertIds(ids);
        if ((learner === null) !== (this.learner === null))
          throw new BadInputError("the state is of a session with other options (templora)");
        if (learner) this.learner?.restore(learner);
        this.#length = 0;
        this.#append(ids, 0);
        this.#written.set(written);
        this.#learnt = learnt;
        this.#watch = spent && new Stopwatch(this.task.meter, spent);
        this.#writing?.cache.clear();
        this.#updates = cache?.updates ?? 0;
        this.#cacheStart = cache?.start ?? 0;
        if (cache) {
          this.#writing ??= this.#startWriting();
          this.#writing.cache.restore(cache, this.learner?.adapter.revision ?? 0);
          this.#writing.sampler.draws = draws;
        }
      }),
    );
  }

  /** Frees everything; the model is what it was. */
  dispose(): void {
    if (this.#busy) throw new Error(`the session is disposed of while ${this.#busy}() runs: await it first`);
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #spent(): Spent | null {
    if (!this.#watch) return null;
    this.#watch.book("score"); // only writing goes on between two steps
    return { flops: { ...this.#watch.flops }, seconds: { ...this.#watch.seconds } };
  }

  /** One step at a time. */
  async #step<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.#busy) throw new Error(`${name}() was called while ${this.#busy}() runs: await it first`);
    this.#busy = name;
    try {
      return await work();
    } finally {
      this.#busy = null;
    }
  }

  #append(ids: ArrayLike<number>, written: 0 | 1): void {
    const length = this.#length + ids.length;
    if (length > this.#text.length) {
      this.#text = grown(this.#text, length);
      this.#written = grown(this.#written, length);
    }
    this.#text.set(ids, this.#length);
    this.#written.fill(written, this.#length, length);
    this.#length = length;
  }

  /** Empties the cache where its keys are too old or the text has outgrown it, and says what it begins with then. */
  #makeRoom(cache: KVCache): void {
    const { reuseCache = 0 } = this.options;
    const stale = this.learner !== null && this.#updates > reuseCache;
    if (stale || this.#length - this.#cacheStart > this.#capacity) cache.clear();
    if (cache.length > 0) return;
    this.#updates = 0;
    // The chunk in progress and the `window` tokens before it; without an adapter, everything as long as it fits.
    this.#cacheStart = this.learner
      ? Math.max(0, this.#learnt - this.#context)
      : this.#length <= this.#capacity
        ? 0
        : this.#length - this.#context;
  }

  #startWriting(): Writing {
    const { seed, reuseCache = 0, sampling = greedy, banIds = [] } = this.options;
    const { model, task } = this;
    const { config } = model;
    if (this.#capacity > config.max_position_embeddings)
      throw new BadInputError(
        `window, chunk and ${reuseCache} reuses of the cache need ${this.#capacity} positions, the model has ` +
          `${config.max_position_embeddings}: lower window, chunk or reuseCache`,
      );
    using stack = new DisposableStack();
    const cache = stack.use(
      new KVCache(task.device, config, this.#capacity, { outlivesUpdates: reuseCache > 0 }),
    );
    model.reserve(this.#capacity);
    const decoder = stack.use(new Decoder(task, model, cache, this.learner?.adapter ?? null));
    const most = Math.min(this.#capacity + 1, config.vocab_size);
    const sampler = stack.use(new Sampler(task, sampling, seed, banIds, most));
    this.#owned.use(stack.move());
    return { cache, decoder, sampler };
  }
}

/** Context tokens of the paper. */
const WINDOW = 3072;

function complete(given: Partial<SessionOptions>, positions: number): SessionOptions {
  const { chunk = Math.min(1024, positions) } = given;
  const { window = Math.max(0, Math.min(WINDOW, positions - chunk)) } = given;
  const defaults = { recipe: recipes.paper, seed: 0, templora: true, baseline: true };
  return { ...defaults, trainWindow: window, ...given, chunk, window };
}

function grown(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(Math.max(length, 2 * array.length));
  larger.set(array);
  return larger;
}
