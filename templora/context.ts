/**
 * A chunk's context as constants: its keys and values are read through a cache and get no gradient
 * (`--context-grad off`). They are computed once for all passes over the chunk, with the adapter as it is before
 * the chunk. With `reuse` those that earlier chunks left in the cache are taken, from an adapter up to `reuse` updates older. The
 * frozen model, whose keys never age, is then read through such a cache as well: both see the same tokens at the same positions.
 */
import { BadInputError } from "../engine/errors.ts";
import type { Task } from "../engine/task.ts";
import type { Llama } from "../model/llama.ts";
import { type CacheSnapshot, KVCache } from "../model/kv_cache.ts";
import type { Learnable } from "./learnable.ts";
import type { Sequence } from "./chunks.ts";

/** How many first tokens a cache needs, so that what attends to nothing in particular has where to go: https://arxiv.org/abs/2309.17453 */
export const SINKS = 4;

export interface ContextOptions {
  /** Tokens of the longest context and chunk together. */
  readonly capacity: number;
  /** After how many updates of the adapter cached keys and values still serve; 0 = they are computed anew for every chunk. */
  readonly reuse: number;
}

/** A frozen context between two chunks, on the host. */
export interface ContextSnapshot {
  readonly cache: CacheSnapshot;
  /** Index in the text after the last token in the cache. */
  readonly end: number;
  /** Chunks since the cache was filled from empty. */
  readonly age: number;
  /** Inputs of the newest chunk. */
  readonly newest: number;
}

export class FrozenContext implements Disposable {
  readonly #task: Task;
  readonly #model: Llama;
  readonly #reuse: number;
  #cache: KVCache;
  /** Index in the text after the inputs that the cache holds once a chunk is done. */
  #end = 0;
  /** Chunks since the cache was filled from empty. */
  #age = 0;
  /** Inputs of the newest chunk, whose passes leave their keys in the cache, and of the one before it. */
  #newest = 0;
  #before = 0;

  constructor(task: Task, model: Llama, { capacity, reuse }: ContextOptions) {
    if (reuse > 0 && model.config.layers.some(({ far }) => far))
      throw new BadInputError(
        `reuseCache ${reuse}: where the context gets no gradient, a cache that is used again slides, and far keys would change their places`,
      );
    this.#task = task;
    this.#model = model;
    this.#reuse = reuse;
    this.#cache = contextCache(task, model, capacity);
  }

  /** A cache that holds the inputs of `sequence` before its `from`, computed with `adapter` (null = the base model). Each pass over the chunk first rewinds it to that length. */
  prepare({ inputs, from, start }: Sequence, adapter: Learnable | null): KVCache {
    const [task, model] = [this.#task, this.#model];
    if (inputs.length > this.#cache.capacity) {
      // a first chunk of another length
      this.#cache.dispose();
      this.#cache = contextCache(task, model, inputs.length);
      this.#age = 0;
    }
    const cache = this.#cache;
    const done = start + from; // inputs before the chunk
    const end = cache.position + cache.length + inputs.length - from; // positions that the chunk needs
    const inCache = this.#end === done && from <= cache.length && end <= model.config.max_position_embeddings;
    const expired = this.#age === 0 || this.#age > this.#reuse;
    if (inCache && !expired) {
      cache.slide(task, from, SINKS);
    } else {
      cache.clear();
      this.#age = 0;
      if (from > 0) this.#read(inputs.subarray(0, from), adapter);
    }
    this.#end = start + inputs.length;
    [this.#before, this.#newest] = [this.#newest, inputs.length - from];
    this.#age++;
    return cache;
  }

  /**
   * Called after `prepare` where the update on the chunk before was undone: keys that this update has shaped do not serve on, and `adapter`,
   * which is as it was before, makes them anew. `filled`: `prepare` came before the undoing; `several`: the update had more steps than one.
   */
  undo({ inputs, from }: Sequence, adapter: Learnable, filled: boolean, several: boolean): void {
    const cache = this.#cache;
    // Those of the chunk before, whose passes came between the steps. Older adapters' keys stay, so that the frozen model's cache still
    // holds the same tokens, and so do the sinks of a cache that has slid.
    const newest = Math.min(this.#before, from - (cache.position > 0 ? SINKS : 0));
    const rows = this.#age === 1 ? Number(filled) * from : Number(several) * newest;
    if (rows <= 0) return;
    cache.rewind(from - rows);
    this.#read(inputs.subarray(from - rows, from), adapter);
  }

  /** Adds keys and values of these tokens to the cache. */
  #read(ids: Int32Array, adapter: Learnable | null): void {
    const [task, model, cache] = [this.#task, this.#model, this.#cache];
    using _scope = task.scope();
    model.forward(model.ids(task, ids), { adapter, cache, from: ids.length - 1 });
  }

  async snapshot(): Promise<ContextSnapshot> {
    return {
      cache: await this.#cache.snapshot(),
      ...{ end: this.#end, age: this.#age, newest: this.#newest },
    };
  }

  /** Becomes what `snapshot` was taken of; null: a context that has read nothing. */
  restore(snapshot: ContextSnapshot | null, revision: number): void {
    const { cache = null, end = 0, age = 0, newest = 0 } = snapshot ?? {};
    if (cache) this.#cache.restore(cache, revision);
    else this.#cache.clear();
    this.#end = end;
    this.#age = age;
    this.#newest = newest;
  }

  [Symbol.dispose](): void {
    this.#cache.dispose();
  }
}

const contextCache = (task: Task, model: Llama, capacity: number): KVCache =>
  new KVCache(task.device, model.config, capacity, { outlivesUpdates: true });
