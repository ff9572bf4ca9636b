/**
 * Reading through a cache, one token after another: each takes the same kernels over the same memory as the one before it, but
 * for its id and its place. The first single token goes through the forward pass, which is captured; those after it replay that.
 */
import type { Replay } from "../engine/replay.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { KVCache } from "./kv_cache.ts";
import type { LinearAdapter, Llama } from "./llama.ts";

export class Decoder {
  readonly #model: Llama;
  readonly #cache: KVCache;
  readonly #adapter: LinearAdapter | null;
  readonly #id: Tensor;
  #step: { readonly hidden: Tensor; readonly replay: Replay } | null = null;

  /**
   * Reads through `cache` and `adapter`, which outlive it. The cache may be cleared, filled and slid, and the adapter's values
   * updated meanwhile; but the adapter has to go on with the tensors that it has, and the model with its span.
   */
  constructor(model: Llama, cache: KVCache, adapter: LinearAdapter | null) {
    const { task } = model;
    this.#model = model;
    this.#cache = cache;
    this.#adapter = adapter;
    using scope = task.scope();
    this.#id = scope.detach(task.empty([1], "i32", "id"));
  }

  /** Final hidden state [1, D] of the last of `ids`, the tokens after those in the cache; valid until the next call. */
  read(ids: Int32Array): Tensor {
    if (ids.length === 1) return this.#next(ids[0]);
    const [adapter, cache] = [this.#adapter, this.#cache];
    return this.#model.forward(ids, { adapter, cache, from: ids.length - 1 });
  }

  #next(id: number): Tensor {
    const model = this.#model;
    const { task } = model;
    const [cache, adapter] = [this.#cache, this.#adapter];
    task.device.write(this.#id.view, Int32Array.of(id));
    if (this.#step) {
      model.begin(1, adapter, cache);
      const at = cache.append(1);
      this.#step.replay.run({ past: at, at, start: cache.position + at });
    } else {
      using scope = task.scope();
      const { result, replay } = task.capture(() => model.forward(this.#id, { adapter, cache }));
      this.#step = { hidden: scope.detach(result), replay };
    }
    return this.#step.hidden;
  }

  dispose(): void {
    this.#step?.hidden.dispose();
    this.#step?.replay.dispose();
    this.#id.dispose();
  }
}
