/**
 * RoPE's table of cosines and sines, in float64 until the last rounding. The kernels turn with what stands here, so that
 * a scaling variant is a matter of this file alone. Formulas as in transformers' modeling_rope_utils.py
 * (https://github.com/huggingface/transformers/blob/main/src/transformers/modeling_rope_utils.py), which rounds the
 * frequencies to float32 on the way; at position 8,191 that makes its angles off by up to 2^-24 · 8,191 = 5e-4.
 */

/** How the rotary frequencies are stretched for contexts longer than the model was first trained on. */
export type RopeScaling =
  /** every position divided by `factor` (position interpolation) */
  | { readonly type: "linear"; readonly factor: number }
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
  | { readonly type: "divisors"; readonly divisors: readonly number[] };

export interface RopeTable {
  /** [P, head_dim / 2], row p for the p-th of the asked-for positions */
  readonly cos: Float32Array<ArrayBuffer>;
  readonly sin: Float32Array<ArrayBuffer>;
}

/** What of a LlamaConfig the table depends on. */
export interface RopeConfig {
  readonly head_dim: number;
  readonly rope_theta: number;
  readonly rope_scaling: RopeScaling | null;
}

/** Cosines and sines for `positions` (absolute, from 0). */
export function ropeTable(config: RopeConfig, positions: ArrayLike<number>): RopeTable {
  const frequencies = ropeFrequencies(config);
  const half = frequencies.length;
  // YaRN sharpens attention by scaling queries and keys, which it does through the table.
  const scale = config.rope_scaling?.type === "yarn" ? config.rope_scaling.attention_factor : 1;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  for (let p = 0; p < positions.length; p++) {
    for (let i = 0; i < half; i++) {
      const angle = positions[p] * frequencies[i];
      cos[p * half + i] = Math.cos(angle) * scale;
      sin[p * half + i] = Math.sin(angle) * scale;
    }
  }
  return { cos, sin };
}

/** Radians per position for each of the head_dim / 2 pairs. */
export function ropeFrequencies({ head_dim, rope_theta, rope_scaling: scaling }: RopeConfig): Float64Array {
  const base = Float64Array.from({ length: head_dim / 2 }, (_, i) => rope_theta ** ((-2 * i) / head_dim));
  if (scaling === null) return base;
  switch (scaling.type) {
    case "linear":
      return base.map((f) => f / scaling.factor);
    case "divisors":
      return base.map((f, i) => f / scaling.divisors[i]);
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
        (head_dim * Math.log(scaling.original_max_position_embeddings / (turns * 2 * Math.PI))) /
        (2 * Math.log(rope_theta));
      const [floor, ceil] = scaling.truncate ? [Math.floor, Math.ceil] : [Number, Number];
      const low = Math.max(0, floor(pairOf(scaling.beta_fast)));
      const high = Math.min(head_dim - 1, ceil(pairOf(scaling.beta_slow)));
      return base.map((f, i) => {
        const interpolate = Math.min(1, Math.max(0, (i - low) / (high === low ? 0.001 : high - low)));
        return interpolate * (f / scaling.factor) + (1 - interpolate) * f;
      });
    }
  }
}
