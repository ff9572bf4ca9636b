/**
 * RoPE's table of cosines and sines, in float64 until the last rounding. The kernels turn with what stands here, so that
 * a scaling variant is a matter of this file alone. Formulas as in transformers' modeling_rope_utils.py
 * (https://github.com/huggingface/transformers/blob/main/src/transformers/modeling_rope_utils.py), which rounds the
 * frequencies to float32 on the way; at position 8,191 that makes its angles off by up to 2^-24 · 8,191 = 5e-4.
 */
import { at } from "../kernels/base/at.ts";
import type { Device } from "../engine/device.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { type Tensor, allocate } from "../engine/tensor.ts";

/** How the rotary frequencies are stretched for contexts longer than the model was first trained on. */
export type RopeScaling =
  /** every position divided by `factor` (position interpolation) */
  | { readonly type: "linear"; readonly factor: number }
  /** "NTK-aware" interpolation (`ntkTheta`) by as much as a sequence of `positions` takes; `factor` is that of a long one */
  | {
      readonly type: "dynamic";
      readonly factor: number;
      readonly original_max_position_embeddings: number;
      readonly positions: number;
    }
  /** Llama 3.1: long wavelengths divided by `factor`, short ones kept, a smooth ramp between */
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly low_freq_factor: number;
      readonly high_freq_factor: number;
      readonly original_max_position_embeddings: number;
    }
  /** YaRN (arXiv 2309.00071): interpolation by frequency, and attention sharpened by `attention_factor` */
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly original_max_position_embeddings: number;
      readonly attention_factor: number;
      readonly beta_fast: number;
      readonly beta_slow: number;
      readonly truncate: boolean;
    }
  /** a divisor for each frequency, as GGUF's rope_freqs.weight gives them (how it stores "llama3") */
  | { readonly type: "divisors"; readonly divisors: readonly number[] }
  /** LongRoPE (arXiv 2402.13753): searched divisors, others (`longer`) beyond the original positions, and attention sharpened */
  | {
      readonly type: "longrope";
      readonly divisors: readonly number[];
      readonly longer: readonly number[];
      readonly attention_factor: number;
      readonly original_max_position_embeddings: number;
    };

/** The part of a configuration that decides the table. */
export interface RopeConfig {
  /** Width of a head. */
  readonly head_dim: number;
  /** Dimensions of a head that turn, the first ones; left out, all. */
  readonly rotary_dim?: number;
  readonly rope_theta: number;
  readonly rope_scaling: RopeScaling | null;
}

/** A rotation by 0 at every position, for layers without RoPE. */
export function unturned(head_dim: number): RopeConfig {
  const divisors = new Array<number>(head_dim / 2).fill(Infinity);
  return { head_dim, rope_theta: 1, rope_scaling: { type: "divisors", divisors } };
}

/** [count, R], R dimensions that turn: row p has the R / 2 cosines of position p (from 0 on), then the sines. */
export function ropeTable(config: RopeConfig, count: number): Float32Array<ArrayBuffer> {
  const frequencies = ropeFrequencies(config);
  const half = frequencies.length;
  // YaRN and LongRoPE sharpen attention by scaling queries and keys, which they do through the table.
  const { rope_scaling: scaling } = config;
  const scale = scaling && "attention_factor" in scaling ? scaling.attention_factor : 1;
  const table = new Float32Array(count * 2 * half);
  for (let p = 0; p < count; p++) {
    for (let i = 0; i < half; i++) {
      const angle = p * at(frequencies, i);
      table[2 * half * p + i] = Math.cos(angle) * scale;
      table[2 * half * p + half + i] = Math.sin(angle) * scale;
    }
  }
  return table;
}

/** The tables of a model's layers on a device, as long as what was asked for so far. Shared by tasks. */
export class RopeTables implements Disposable {
  readonly #device: Device;
  /** Layers with the same frequencies have the same table. */
  readonly #tables = new Map<string, { readonly config: RopeConfig; table: Tensor }>();
  #rows = 0;

  constructor(device: Device, configs: Iterable<RopeConfig>) {
    this.#device = device;
    using stack = new DisposableStack();
    for (const config of configs) {
      const key = keyOf(config);
      if (!this.#tables.has(key))
        this.#tables.set(key, { config, table: stack.use(this.#make(config, FIRST_ROWS)) });
    }
    this.#rows = FIRST_ROWS;
    stack.move();
  }

  /** Positions that the tables hold: when it grows, they are other tensors. */
  get rows(): number {
    return this.#rows;
  }

  /** Makes them hold positions [0, rows). */
  reserve(rows: number): void {
    if (rows <= this.#rows) return;
    const grown = Math.max(rows, 2 * this.#rows);
    using stack = new DisposableStack();
    const tables = [...this.#tables.values()].map((entry) => ({
      entry,
      table: stack.use(this.#make(entry.config, grown)),
    }));
    stack.move();
    for (const { entry, table } of tables) {
      entry.table.dispose(); // whoever still computes with it holds its memory
      entry.table = table;
    }
    this.#rows = grown;
  }

  /** [rows, R] of a layer. */
  get(config: RopeConfig): Tensor {
    const entry = this.#tables.get(keyOf(config));
    if (!entry) throw new RangeError("no layer has such a RoPE");
    return entry.table;
  }

  #make(config: RopeConfig, rows: number): Tensor {
    const { rotary_dim = config.head_dim } = config;
    const table = allocate(this.#device, [rows, rotary_dim], "f32", "rope.table");
    this.#device.write(table.view, ropeTable(config, rows));
    return table;
  }

  dispose(): void {
    for (const { table } of this.#tables.values()) table.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Positions at first: what a short text takes. */
const FIRST_ROWS = 512;

function keyOf({ head_dim, rotary_dim = head_dim, rope_theta, rope_scaling }: RopeConfig): string {
  return JSON.stringify([rotary_dim, rope_theta, rope_scaling]);
}

/** Radians per position for each of the R / 2 pairs that turn. */
export function ropeFrequencies(config: RopeConfig): Float64Array {
  const { rotary_dim: R = config.head_dim, rope_theta, rope_scaling: scaling } = config;
  const frequencies = (theta: number): Float64Array =>
    Float64Array.from({ length: R / 2 }, (_, i) => theta ** ((-2 * i) / R));
  const base = frequencies(rope_theta);
  if (scaling === null) return base;
  switch (scaling.type) {
    case "linear":
      return base.map((f) => f / scaling.factor);
    case "dynamic": {
      const { factor, original_max_position_embeddings: original, positions } = scaling;
      const taken = (factor * Math.max(positions, original)) / original - (factor - 1);
      return frequencies(ntkTheta(config, taken));
    }
    case "divisors":
    case "longrope":
      return base.map((f, i) => f / at(scaling.divisors, i));
    case "llama3":
      return base.map((f) => {
        // turns that the pair makes over the original context: few = position is all it tells, many = order is
        const turns = (scaling.original_max_position_embeddings * f) / (2 * Math.PI);
        const { low_freq_factor: low, high_freq_factor: high } = scaling;
        const keep = Math.min(1, Math.max(0, (turns - low) / (high - low)));
        return (1 - keep) * (f / scaling.factor) + keep * f;
      });
    case "yarn": {
      // the (fractional) pair that makes `turns` turns over the original context
      const pairOf = (turns: number): number =>
        (R * Math.log(scaling.original_max_position_embeddings / (turns * 2 * Math.PI))) /
        (2 * Math.log(rope_theta));
      const [floor, ceil] = scaling.truncate ? [Math.floor, Math.ceil] : [Number, Number];
      const low = Math.max(0, floor(pairOf(scaling.beta_fast)));
      const high = Math.min(R - 1, ceil(pairOf(scaling.beta_slow)));
      return base.map((f, i) => {
        const interpolate = Math.min(1, Math.max(0, (i - low) / (high === low ? 0.001 : high - low)));
        return interpolate * (f / scaling.factor) + (1 - interpolate) * f;
      });
    }
  }
}

/**
 * RoPE's base where slow frequencies are stretched by `factor` and fast ones hardly: "NTK-aware" interpolation,
 * https://arxiv.org/abs/2309.00071, section 3.1.
 */
export function ntkTheta(
  { head_dim, rotary_dim: R = head_dim, rope_theta }: RopeConfig,
  factor: number,
): number {
  return rope_theta * factor ** (R / (R - 2));
}
