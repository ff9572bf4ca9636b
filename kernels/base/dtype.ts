/**
 * The dtypes: what a buffer's bytes mean. Activations are f32; i32/u32 carry token ids; all the others are
 * storage formats of frozen weights, widened to f32 inside the kernels.
 *
 * Block formats (GGUF, https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h) hold 32 consecutive
 * elements of a row:  q4_0 {f16 d; u8 qs[16]}  w = d·(q − 8)     q4_1 {f16 d, m; u8 qs[16]}  w = d·q + m
 * (the low nibbles are elements 0–15, the high nibbles 16–31)    q8_0 {f16 d; i8 qs[32]}     w = d·q
 */

export const dtypes = {
  f32: { block: 1, bytes: 4, code: 0 },
  f16: { block: 1, bytes: 2, code: 1 },
  bf16: { block: 1, bytes: 2, code: 2 },
  q4_0: { block: 32, bytes: 18, code: 3 },
  q4_1: { block: 32, bytes: 20, code: 4 },
  q8_0: { block: 32, bytes: 34, code: 5 },
  i32: { block: 1, bytes: 4, code: 6 },
  u32: { block: 1, bytes: 4, code: 7 },
} as const;

export type DType = keyof typeof dtypes;

/** What a frozen weight matrix may be stored in. */
export const weightDTypes = ["f32", "f16", "bf16", "q4_0", "q4_1", "q8_0"] as const;
export type WeightDType = (typeof weightDTypes)[number];

export function isWeightDType(dtype: DType): dtype is WeightDType {
  return (weightDTypes as readonly DType[]).includes(dtype);
}

/** Bytes that `elements` of `dtype` take; `elements` is a multiple of the dtype's block. */
export function byteLength(dtype: DType, elements: number): number {
  const { block, bytes } = dtypes[dtype];
  return (elements / block) * bytes;
}
