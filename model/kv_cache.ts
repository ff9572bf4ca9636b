/**
 * Keys and values of the tokens read so far, in buffers of fixed capacity, one pair a layer. The cache carries the version
 * of the adapter that made its keys: reading them with a newer adapter is an error, unless the cache was made to outlive
 * updates (`--reuse-cache`).
 */
import { copy } from "../kernels/copy/copy.ts";
import type { Engine } from "../engine/engine.ts";
import { ShapeError } from "../engine/errors.ts";
import { elements } from "../engine/shape.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { LlamaConfig } from "./config.ts";

export class KVCache {
  /** Rows that fit, in tokens. */
  readonly capacity: number;
  /** Tokens held. */
  length = 0;
  /** Version of the adapter that the oldest rows were computed with; -1 = empty. */
  version = -1;
  /** Keys may be read with a newer adapter than the one that made them. */
  readonly outlivesUpdates: boolean;
  readonly #engine: Engine;
  readonly #layers: readonly { readonly k: Tensor; readonly v: Tensor }[];

  constructor(engine: Engine, config: LlamaConfig, capacity: number, { outlivesUpdates = false } = {}) {
    this.#engine = engine;
    this.outlivesUpdates = outlivesUpdates;
    this.capacity = capacity;
    const shape = [capacity, config.num_key_value_heads, config.head_dim];
    using scope = engine.scope();
    const make = (label: string): Tensor => scope.detach(engine.empty(shape, "f32", label));
    this.#layers = Array.from({ length: config.num_hidden_layers }, () => ({
      k: make("cache.k"),
      v: make("cache.v"),
    }));
  }

  /** Called before tokens are read with an adapter of this version. */
  begin(version: number): void {
    if (this.length === 0) this.version = version;
    else if (this.version !== version && !this.outlivesUpdates) {
      throw new Error(
        `the cache holds keys of adapter version ${this.version}, read with version ${version}: clear() it after an update`,
      );
    }
  }

  /** Writes k and v [T, G, D] behind the rows held, and answers the whole buffers [capacity, G, D]. */
  append(layer: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor } {
    const cache = this.#layers[layer];
    const [T = 0, ...row] = k.shape;
    if (!cache || this.length + T > this.capacity) {
      throw new ShapeError(
        "kv cache",
        `${this.length} + ${T} tokens exceed the capacity of ${this.capacity}`,
      );
    }
    const at = { from: 0, to: this.length * elements(row), count: k.length };
    this.#engine.run(copy, { x: k, y: cache.k }, at);
    this.#engine.run(copy, { x: v, y: cache.v }, at);
    return cache;
  }

  /** Forgets everything; the memory stays. */
  clear(): void {
    this.length = 0;
    this.version = -1;
  }

  dispose(): void {
    for (const { k, v } of this.#layers) {
      k.dispose();
      v.dispose();
    }
  }
}
