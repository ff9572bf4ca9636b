/**
 * The dtypes: what a buffer's bytes mean. Activations are f32; i32/u32 carry token ids; all the others are storage
 * formats of frozen weights (formats/list.ts), widened to f32 inside the kernels.
 */
import { type WeightDType, formats, weightDTypes } from "../formats/index.ts";

export { type WeightDType, weightDTypes };

export type DType = WeightDType | "i32" | "u32";

export interface Layout {
  /** Elements that are stored together, and their bytes. */
  readonly block: number;
  readonly bytes: number;
  /** The number by which the CPU kernels are told of it. */
  readonly code: number;
}

const word = { block: 1, bytes: 4 };

export const dtypes = Object.fromEntries(
  Object.entries({ ...formats, i32: word, u32: word }).map(([name, { block, bytes }], code) => [
    name,
    { block, bytes, code },
  ]),
) as { readonly [D in DType]: Layout };

export function isWeightDType(dtype: DType): dtype is WeightDType {
  return Object.hasOwn(formats, dtype);
}

/** Bytes that `elements` of `dtype` take; `elements` is a multiple of the dtype's block. */
export function byteLength(dtype: DType, elements: number): number {
  const { block, bytes } = dtypes[dtype];
  return (elements / block) * bytes;
}
