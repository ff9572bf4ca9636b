/**
 * Keys and values of the tokens read so far, in buffers of fixed capacity, one pair a layer. The cache carries the version
 * of the adapter that made its keys: reading them with a newer adapter is an error, unless the cache was made to outlive
 * updates (`--reuse-cache`).
 */
import { copy } from "../kernels/copy/copy.ts";
import type { Task } from "../engine/task.ts";
import { ShapeError } from "../engine/errors.ts";
import { writeRows } from "../engine/ops/view.ts";
import { elements } from "../kernels/base/shape.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { LlamaConfig } from "./config.ts";

export class KVCache {
  /** Rows that fit, in tokens. */
  readonly capacity: number;
  /** Tokens held. */
  length = 0;
  /** Tokens forgotten by `slide`: the next one's rotary position is this and `length`. */
  position = 0;
  /** Version of the adapter that the oldest rows were computed with; -1 = empty. */
  version = -1;
  /** Keys may be read with a newer adapter than the one that made them. */
  readonly outlivesUpdates: boolean;
  readonly #task: Task;
  readonly #layers: readonly { readonly k: Tensor; readonly v: Tensor }[];

  constructor(task: Task, config: LlamaConfig, capacity: number, { outlivesUpdates = false } = {}) {
    this.#task = task;
    this.outlivesUpdates = outlivesUpdates;
    this.capacity = capacity;
    const shape = [capacity, config.num_key_value_heads, config.head_dim];
    using scope = task.scope();
    const make = (label: string): Tensor => scope.detach(task.empty(shape, "f32", label));
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

  /**
   * Writes k and v [T, G, D] at rows `at` and on, and answers the whole buffers [capacity, G, D]. Gradients reach k and v;
   * the rows before them are constants.
   */
  write(layer: number, at: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor } {
    const [rows = 0] = k.shape;
    const cache = this.rows(layer, at, rows);
    return {
      k: writeRows(this.#task, { x: k, buffer: cache.k }, { at, rows }),
      v: writeRows(this.#task, { x: v, buffer: cache.v }, { at, rows }),
    };
  }

  /** A layer's whole buffers [capacity, G, D], of which rows `at` and on are about to be written. */
  rows(layer: number, at: number, rows: number): { readonly k: Tensor; readonly v: Tensor } {
    const cache = this.#layers[layer];
    if (!cache) throw new RangeError(`no layer ${layer}`);
    this.#assertRoom(at, rows);
    return cache;
  }

  /** Counts `rows` tokens more, whose keys and values a replay writes; answers the first one's row. */
  append(rows: number): number {
    const at = this.length;
    this.#assertRoom(at, rows);
    this.length += rows;
    return at;
  }

  #assertRoom(at: number, rows: number): void {
    if (at + rows > this.capacity)
      throw new ShapeError("kv cache", `${at} + ${rows} tokens exceed the capacity of ${this.capacity}`);
  }

  /** Forgets the tokens after the first `length`: they are about to be read again. */
  rewind(length: number): void {
    if (length > this.length) throw new RangeError(`cannot rewind ${this.length} tokens to ${length}`);
    this.length = length;
  }

  /**
   * Forgets the oldest tokens until `rows` are left, but for the first `sinks`: models put spare attention on the first
   * keys, and do badly without them (Xiao et al. 2023, https://arxiv.org/abs/2309.17453). What stays keeps its position.
   */
  slide(rows: number, sinks: number): void {
    const gone = this.length - rows;
    if (gone < 0) throw new RangeError(`cannot keep ${rows} of ${this.length} tokens`);
    const first = Math.min(sinks, rows);
    if (gone === 0) return;
    using _scope = this.#task.scope();
    for (const buffer of this.#layers.flatMap(({ k, v }) => [k, v])) {
      const row = elements(buffer.shape.slice(1));
      const count = (rows - first) * row;
      const kept = this.#task.empty([count]); // no device copies a buffer onto itself
      this.#task.run(copy, { x: buffer, y: kept }, { from: (first + gone) * row, to: 0, count });
      this.#task.run(copy, { x: kept, y: buffer }, { from: 0, to: first * row, count });
    }
    this.position += gone;
    this.length = rows;
  }

  /** Forgets everything; the memory stays. */
  clear(): void {
    this.length = 0;
    this.position = 0;
    this.version = -1;
  }

  dispose(): void {
    for (const { k, v } of this.#layers) {
      k.dispose();
      v.dispose();
    }
  }
}
