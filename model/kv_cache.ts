/**
 * Keys and values of the tokens read so far, in buffers of fixed capacity, one pair a layer. The cache carries the revision
 * of the adapter that made its keys: reading them with another is an error, unless the cache was made to outlive updates
 * (`--reuse-cache`).
 */
import { at } from "../kernels/base/at.ts";
import { copy } from "../kernels/copy/copy.ts";
import type { Device } from "../engine/device.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { ShapeError } from "../engine/errors.ts";
import { writeRows } from "../engine/ops/view.ts";
import type { Task } from "../engine/task.ts";
import { type Tensor, allocate } from "../engine/tensor.ts";
import { elements } from "../kernels/base/shape.ts";
import type { ModelConfig } from "./config.ts";

export interface CacheOptions {
  /** Keys may be read with a newer adapter than the one that made them. */
  readonly outlivesUpdates?: boolean;
  /** Keys are kept as they are before RoPE, and turned whenever they are read: for policies that move positions. */
  readonly unrotated?: boolean;
}

/** What a cache holds, copied to the host. */
export interface CacheSnapshot {
  readonly length: number;
  readonly position: number;
  /** Keys, values and far keys of layer 0, 1 …: the first `length` rows of each buffer. */
  readonly rows: readonly Float32Array[];
}

/** Keys and values of a layer, in rows [G, E]; `far`: the keys as they are seen from afar, where their positions differ. */
export interface LayerKeys {
  readonly k: Tensor;
  readonly v: Tensor;
  readonly far?: Tensor;
}

export class KVCache implements Disposable {
  /** Rows that fit, in tokens. */
  readonly capacity: number;
  readonly outlivesUpdates: boolean;
  readonly unrotated: boolean;
  /** Tokens held. */
  length = 0;
  /** Tokens forgotten by `slide`: the next one's rotary position is this and `length`. */
  position = 0;
  /** Revision of the adapter that the oldest rows were computed with; null = empty. */
  #revision: number | null = null;
  readonly #layers: readonly LayerKeys[];
  readonly #owned: DisposableStack;

  constructor(
    device: Device,
    config: ModelConfig,
    capacity: number,
    { outlivesUpdates = false, unrotated = false }: CacheOptions = {},
  ) {
    using stack = new DisposableStack();
    this.outlivesUpdates = outlivesUpdates;
    this.unrotated = unrotated;
    this.capacity = capacity;
    const shape = [capacity, config.num_key_value_heads, config.head_dim];
    const make = (label: string): Tensor => stack.use(allocate(device, shape, "f32", label));
    this.#layers = config.layers.map(({ far }) => ({
      ...{ k: make("cache.k"), v: make("cache.v") },
      ...(far && far.group > 1 && { far: make("cache.far") }),
    }));
    this.#owned = stack.move();
  }

  /** Called before tokens are read with an adapter of this revision. */
  begin(revision: number): void {
    if (this.length === 0) this.#revision = revision;
    else if (this.#revision !== revision && !this.outlivesUpdates) {
      throw new Error(
        `the cache holds keys of adapter revision ${this.#revision}, read with revision ${revision}: clear() it after an update`,
      );
    }
  }

  /**
   * Writes k and v [T, G, E] to the rows that begin at `start`. Returns the whole buffers [capacity, G, E]. Gradients reach k and
   * v; the rows before them are constants.
   */
  write(layer: number, start: number, { k, v, far }: LayerKeys): LayerKeys {
    const place = { at: start, rows: at(k.shape, 0) };
    const cache = this.rows(layer, place.at, place.rows);
    return {
      ...{ k: writeRows(k, cache.k, place), v: writeRows(v, cache.v, place) },
      ...(far && cache.far && { far: writeRows(far, cache.far, place) }),
    };
  }

  /** A layer's whole buffers [capacity, G, E], whose rows from `at` on are about to be written. */
  rows(layer: number, at: number, rows: number): LayerKeys {
    const cache = this.#layers[layer];
    if (!cache) throw new RangeError(`no layer ${layer}`);
    this.#assertRoom(at, rows);
    return cache;
  }

  /** Counts `rows` tokens more, whose keys and values a replay writes. Returns the row of the first of them. */
  append(rows: number): number {
    const at = this.length;
    this.#assertRoom(at, rows);
    this.length += rows;
    return at;
  }

  get #buffers(): Tensor[] {
    return this.#layers.flatMap(({ k, v, far }) => (far ? [k, v, far] : [k, v]));
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
  slide(task: Task, rows: number, sinks: number): void {
    const gone = this.length - rows;
    if (gone < 0) throw new RangeError(`cannot keep ${rows} of ${this.length} tokens`);
    const first = Math.min(sinks, rows);
    if (gone === 0) return;
    this.position += gone;
    this.length = rows;
    if (rows === first) return;
    using _scope = task.scope();
    for (const buffer of this.#buffers) {
      const row = elements(buffer.shape.slice(1));
      const count = (rows - first) * row;
      const kept = task.empty([count]); // no device copies a buffer onto itself
      task.run(copy, { x: buffer, y: kept }, { from: (first + gone) * row, to: 0, count });
      task.run(copy, { x: kept, y: buffer }, { from: 0, to: first * row, count });
    }
  }

  /** Writes the first rows of each buffer, keys and values of layer 0, 1 … as a snapshot has them. */
  overwrite(rows: readonly Float32Array[]): void {
    const buffers = this.#buffers;
    if (rows.length !== buffers.length) throw new ShapeError("kv cache", `${rows.length} buffers restored`);
    for (const [i, { storage, view }] of buffers.entries())
      storage.device.write({ ...view, length: at(rows, i).length }, at(rows, i));
  }

  /** Forgets everything; the memory stays. */
  clear(): void {
    this.length = 0;
    this.position = 0;
    this.#revision = null;
  }

  async snapshot(): Promise<CacheSnapshot> {
    const { length, position } = this;
    const rows: Float32Array[] = [];
    for (const buffer of this.#buffers) {
      using used = buffer.alias([length, ...buffer.shape.slice(1)]);
      rows.push(length > 0 ? await used.data() : new Float32Array());
    }
    return { length, position, rows };
  }

  /** Becomes what the snapshot was taken of, its keys counting as those of adapter `revision`. */
  restore({ length, position, rows }: CacheSnapshot, revision: number): void {
    this.#assertRoom(0, length);
    this.overwrite(rows);
    this.length = length;
    this.position = position;
    this.#revision = length > 0 ? revision : null;
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
