/**
 * Chooses the tokens of a session: a cache, a decoder and a sampler, and what the cache begins with. Keys and values stay cached
 * within a chunk. An update of the adapter makes them stale: they are computed again from the last `window` tokens, at
 * once or, with `reuseCache` k, after k more updates (paper §3.3, "cache reuse").
 */
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError, NonFiniteError } from "../engine/errors.ts";
import type { Task } from "../engine/task.ts";
import { Decoder } from "../model/decoder.ts";
import { type CacheSnapshot, KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Sampler } from "../model/sample.ts";
import type { Adapter } from "./adapter.ts";
import type { SessionOptions } from "./session_options.ts";
import { nonFinite } from "./nonfinite.ts";
import type { GrowingText } from "./growing_text.ts";

type WriterOptions = Pick<SessionOptions, "chunk" | "window" | "seed" | "reuseCache" | "sampling" | "banIds">;

/** A writer between two tokens, on the host. */
export interface WriterSnapshot extends CacheSnapshot {
  /** Index in the text of the token in the cache's first row. */
  readonly start: number;
  /** Updates of the adapter since the cache was empty. */
  readonly updates: number;
  /** How many random numbers the sampler has drawn. */
  readonly draws: number;
}

export class Writer implements Disposable {
  readonly #task: Task;
  readonly #model: Llama;
  readonly #adapter: Adapter | null;
  readonly #reuse: number;
  /** Tokens before the chunk that the cache begins with. */
  readonly #context: number;
  readonly #capacity: number;
  readonly #cache: KVCache;
  readonly #decoder: Decoder;
  readonly #sampler: Sampler;
  readonly #owned: DisposableStack;
  #start = 0;
  #updates = 0;
  /** Length of the cache and draws of the sampler before the last `next`. */
  #before = { length: 0, draws: 0 };

  constructor(task: Task, model: Llama, adapter: Adapter | null, options: WriterOptions) {
    const { chunk, window, seed, reuseCache, sampling, banIds } = options;
    const { max_position_embeddings: positions, vocab_size } = model.config;
    this.#task = task;
    this.#model = model;
    this.#adapter = adapter;
    this.#reuse = reuseCache;
    this.#context = Math.max(1, window);
    this.#capacity = this.#context + chunk * (adapter ? reuseCache + 1 : 1);
    if (this.#capacity > positions)
      throw new BadInputError(
        `window, chunk and ${reuseCache} reuses of the cache need ${this.#capacity} positions, the model has ` +
          `${positions}: lower window, chunk or reuseCache`,
      );
    using stack = new DisposableStack();
    const outlivesUpdates = reuseCache > 0;
    this.#cache = stack.use(new KVCache(task.device, model.config, this.#capacity, { outlivesUpdates }));
    this.#decoder = stack.use(new Decoder(task, model, this.#cache, adapter));
    const most = Math.min(this.#capacity + 1, vocab_size);
    this.#sampler = stack.use(new Sampler(task, sampling, seed, banIds, most));
    model.reserve(this.#capacity);
    this.#owned = stack.move();
  }

  /** To be called after an update of the adapter: cached keys are now those of an older one. */
  updated(): void {
    this.#updates++;
  }

  /** Reads what is new of the text, whose first `learnt` tokens the adapter has seen, and chooses the token after it. */
  async next(text: GrowingText, learnt: number): Promise<number> {
    this.#makeRoom(text.length, learnt);
    this.#before = { length: this.#cache.length, draws: this.#sampler.draws };
    const unread = text.ids(this.#start + this.#cache.length);
    using _scope = this.#task.scope();
    try {
      const hidden = this.#decoder.read(unread);
      return await this.#sampler.next(this.#model.logits(hidden), text.ids(this.#start));
    } catch (error) {
      this.takeBack();
      if (!(error instanceof NonFiniteError)) throw error;
      throw await nonFinite(error.message, this.#task, this.#model, text.ids(this.#start), this.#adapter);
    }
  }

  /** Undoes the last `next`, whose token is not added to the text: what it read will be read again. */
  takeBack(): void {
    this.#cache.rewind(Math.min(this.#before.length, this.#cache.length));
    this.#sampler.draws = this.#before.draws;
  }

  /** Empties the cache when its keys are too old or the text no longer fits, and chooses the token it begins with then. */
  #makeRoom(length: number, learnt: number): void {
    const stale = this.#adapter !== null && this.#updates > this.#reuse;
    if (stale || length - this.#start > this.#capacity) this.#cache.clear();
    if (this.#cache.length > 0) return;
    this.#updates = 0;
    // The chunk in progress and the `window` tokens before it; without an adapter, everything as long as it fits.
    if (this.#adapter) this.#start = Math.max(0, learnt - this.#context);
    else this.#start = length <= this.#capacity ? 0 : length - this.#context;
  }

  async snapshot(): Promise<WriterSnapshot> {
    const cache = await this.#cache.snapshot();
    return { ...cache, start: this.#start, updates: this.#updates, draws: this.#sampler.draws };
  }

  /** Becomes what the snapshot was taken of; null: a writer that has chosen nothing yet. */
  restore(snapshot: WriterSnapshot | null): void {
    this.#cache.clear();
    if (snapshot) this.#cache.restore(snapshot, this.#adapter?.revision ?? 0);
    this.#start = snapshot?.start ?? 0;
    this.#updates = snapshot?.updates ?? 0;
    this.#sampler.draws = snapshot?.draws ?? 0;
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
