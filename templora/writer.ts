/**
 * Chooses the tokens of a session: a cache, a decoder and a sampler, and what the cache begins with. Keys and values stay cached
 * within a chunk. An update of the adapter makes them stale: they are computed again from the last `window` tokens, at
 * once or, with `reuseCache` k, after k more updates (paper §3.3, "cache reuse"). Beside a learner that would be a long pause. So the
 * learner makes them, but for those of the chunk that is written meanwhile, which stay as they were written, at their positions.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError, NonFiniteError } from "../engine/errors.ts";
import type { Task } from "../engine/task.ts";
import { Decoder } from "../model/decoder.ts";
import { entropyOf } from "../model/entropy.ts";
import { type CacheSnapshot, KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Sampler } from "../model/sample.ts";
import type { Learnable } from "./learnable.ts";
import { SINKS } from "./context.ts";
import type { SessionOptions } from "./session_options.ts";
import { nonFinite } from "./nonfinite.ts";
import { bosOf, headed } from "./chunks.ts";
import type { GrowingText } from "./growing_text.ts";

type WriterOptions = Pick<
  SessionOptions,
  "chunk" | "window" | "seed" | "reuseCache" | "sampling" | "banIds" | "schedule" | "keepBos"
>;

/** Tokens whose keys and values the learner makes for the writer, once it has learnt a chunk. */
export interface Renewal {
  /** Index in the text of the first of them. */
  readonly start: number;
  readonly ids: Int32Array;
  /** The position of the first. */
  readonly position: number;
}

/** What it has made. */
export interface Renewed {
  readonly start: number;
  /** Index in the text after the last. */
  readonly end: number;
  /** As in a CacheSnapshot. */
  readonly rows: readonly Float32Array[];
}

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
  readonly #adapter: Learnable | null;
  readonly #reuse: number;
  /** Tokens before the chunk that the cache begins with. */
  readonly #context: number;
  readonly #chunk: number;
  readonly #keepBos: boolean;
  readonly #capacity: number;
  readonly #cache: KVCache;
  readonly #decoder: Decoder;
  readonly #sampler: Sampler;
  readonly #owned: DisposableStack;
  #start = 0;
  #updates = 0;
  /** Length of the cache and draws of the sampler before the last `next`. */
  #before = { length: 0, draws: 0 };

  constructor(task: Task, model: Llama, adapter: Learnable | null, options: WriterOptions) {
    const { chunk, window, seed, reuseCache, sampling, banIds, schedule, keepBos } = options;
    const { max_position_embeddings: positions, vocab_size } = model.config;
    this.#task = task;
    this.#model = model;
    this.#adapter = adapter;
    this.#reuse = reuseCache;
    this.#chunk = chunk;
    this.#keepBos = keepBos;
    const beside = schedule === "parallel" && adapter !== null;
    const ahead = chunk * (adapter ? reuseCache + 1 : 1);
    // What the learner makes for it must reach back behind the chunk that stays as it was written: a cache needs its first keys.
    const least = beside ? Math.min(chunk + SINKS, positions - ahead) : 1;
    this.#context = Math.max(1, least, window);
    // … so until the first of it comes, an update late, the older ones stay where there is a position for them.
    const late = beside ? chunk : 0;
    this.#capacity = Math.max(this.#context + ahead, Math.min(this.#context + ahead + late, positions));
    if (this.#capacity > positions)
      throw new BadInputError(
        `window, chunk and ${reuseCache} reuses of the cache need ${this.#capacity} positions, the model has ` +
          `${positions}: lower window, chunk or reuseCache`,
      );
    using stack = new DisposableStack();
    const outlivesUpdates = reuseCache > 0 || schedule === "parallel";
    this.#cache = stack.use(new KVCache(task.device, model.config, this.#capacity, { outlivesUpdates }));
    this.#decoder = stack.use(new Decoder(task, model, this.#cache, adapter));
    const most = Math.min(this.#capacity + 1, vocab_size);
    this.#sampler = stack.use(new Sampler(task, sampling, seed, banIds, most));
    model.reserve(this.#capacity);
    this.#owned = stack.move();
  }

  /**
   * To be called where the next chunk will be written beside an update, and the learner has then been handed `learnt` tokens. Returns
   * what the learner is to make, so that after that chunk the window has keys of the newest adapter. Null
   * where the cache serves on as it is; or where the model's positions come to their end: then the window is read again, from position 0.
   */
  ahead(text: GrowingText, learnt: number): Renewal | null {
    const positions = this.#model.config.max_position_embeddings;
    const origin = (): number => this.#start - this.#cache.position; // index in the text of position 0
    const chunks = this.#reuse - this.#updates + 1; // that the cache must serve for
    const end = learnt + chunks * this.#chunk;
    if (chunks <= 0 || end - this.#start > this.#capacity || end - origin() > positions) this.#begin(learnt);
    const next = learnt + this.#chunk;
    const last = next + (this.#reuse + 1) * this.#chunk - origin();
    if (this.#updates < this.#reuse || last > positions) return null;
    const start = Math.max(0, next - this.#context);
    return { start, ids: this.#from(text, start, Math.max(start, learnt)), position: start - origin() };
  }

  /** To be called after an update of the adapter: cached keys are now those of an older one, but for `renewed`. */
  updated(renewed: Renewed | null): void {
    this.#updates++;
    const kept = renewed ? this.#start + this.#cache.length - renewed.end : -1;
    if (!renewed || kept < 0) return; // a text that ended early
    const { start, end, rows } = renewed;
    this.#cache.slide(this.#task, end - start + kept, end - start);
    if (end > start) this.#cache.overwrite(rows);
    this.#start = start;
    this.#updates = 0;
  }

  /** Reads what is new of the text, whose first `learnt` tokens the adapter has seen, and chooses the token after it. `entropy`: of the model, in nats. */
  async next(text: GrowingText, learnt: number): Promise<{ id: number; entropy: number }> {
    this.#makeRoom(text.length, learnt);
    this.#before = { length: this.#cache.length, draws: this.#sampler.draws };
    const unread =
      this.#cache.length === 0
        ? this.#from(text, this.#start, text.length)
        : text.ids(this.#start + this.#cache.length);
    using _scope = this.#task.scope();
    try {
      const logits = this.#model.logits(this.#decoder.read(unread));
      const both = [
        entropyOf(this.#task, logits).item(),
        this.#sampler.next(logits, text.ids(this.#start)),
      ] as const;
      await Promise.allSettled(both); // what fails in one of them ends the scope of the other
      const [entropy, id] = await Promise.all(both);
      return { id, entropy: Math.max(0, entropy) };
    } catch (error) {
      this.takeBack();
      if (!(error instanceof NonFiniteError)) throw error;
      throw await nonFinite(error.message, this.#task, this.#model, text.ids(this.#start), this.#adapter);
    }
  }

  /** What a cache that begins at `start` begins with. */
  #from(text: GrowingText, start: number, end: number): Int32Array {
    const bos = this.#keepBos ? bosOf(text.ids(0, 1), this.#model.config) : null;
    return headed(text.ids(start, end), bos);
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
    if (this.#adapter) this.#begin(learnt);
    // Without an adapter, everything as long as it fits.
    else this.#start = length <= this.#capacity ? 0 : length - this.#context;
  }

  /** Empties the cache; it begins again with the `window` tokens before the chunk in progress. */
  #begin(learnt: number): void {
    this.#cache.clear();
    this.#updates = 0;
    this.#start = Math.max(0, learnt - this.#context);
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
