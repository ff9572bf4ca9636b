/** What a storage format of frozen weights says of itself on the host. README.md tells what else its folder holds. */
export interface Format {
  /** Consecutive elements of a row that are stored together, and the bytes that they take. */
  readonly block: number;
  readonly bytes: number;
  /** Its type number in GGUF files (ggml.h). */
  readonly ggml: number;
  /** Its name in safetensors files. */
  readonly safetensors?: string;
  /** Widens the block at `at`, exactly, to out[to], out[to + 1] … */
  widen(view: DataView, at: number, out: Float64Array, to: number): void;
  /** Packs a block of values, rounding to nearest. Tests and test models do so; it need not be clever. */
  pack(values: readonly number[], view: DataView, at: number): void;
  /** How far `x`, one of a block's `values`, may be from what it was when it has been packed and widened. */
  loss(values: readonly number[], x: number): number;
}
