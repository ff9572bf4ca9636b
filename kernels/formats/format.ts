/** What a storage format of frozen weights declares on the host. kernels/README.md says what else its folder holds. */
export interface Format {
  /** Consecutive elements of a row that are stored together, and the bytes that they take. */
  readonly block: number;
  readonly bytes: number;
  /** Its type number in GGUF files (ggml.h). */
  readonly ggml: number;
  /** Its name in safetensors files. */
  readonly safetensors?: string;
  /** Floats in a block: the bytes of it where the 16 bits with their exponents are, and which of these are all 1 in NaN and infinities. */
  readonly exponents: { readonly at: readonly number[]; readonly mask: number };
  /** Widens the block at `at`, exactly, to out[to], out[to + 1] … */
  widen(view: DataView, at: number, out: Float64Array, to: number): void;
  /** Packs a block of values, rounding to nearest. For merging (templora/merge.ts) and tests: a simple way will do. */
  pack(values: readonly number[], view: DataView, at: number): void;
  /** The largest error of `x`, one of a block's `values`, after packing and widening. */
  loss(values: readonly number[], x: number): number;
}
