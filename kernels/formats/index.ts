/** The storage formats of frozen weights on the host. */
import type { Format } from "./format.ts";
import * as list from "./list.ts";

/** The dtypes in which a frozen weight matrix may be stored. */
export type WeightDType = keyof typeof list;

export const formats: { readonly [D in WeightDType]: Format } = list;

/** In alphabetical order, as a module's exports are. */
export const weightDTypes = Object.keys(list) as readonly WeightDType[];

/** Widens `bytes` (whole blocks) to float64 values; every one of them is exact. */
export function widen(dtype: WeightDType, bytes: Uint8Array): Float64Array {
  const format = formats[dtype];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blocks = bytes.byteLength / format.bytes;
  const out = new Float64Array(blocks * format.block);
  for (let b = 0; b < blocks; b++) format.widen(view, b * format.bytes, out, b * format.block);
  return out;
}

/** A block of `bytes` that holds NaN or an infinity; -1 where all is finite, which the kernels that widen take for granted. */
export function brokenBlock(dtype: WeightDType, bytes: Uint8Array): number {
  const { exponents, bytes: size } = formats[dtype];
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
  for (const start of exponents.at) {
    const found = firstFull(words, start >> 1, size >> 1, exponents.mask);
    if (found >= 0) return Math.floor((2 * found) / size);
  }
  return -1;
}

/** The first of every `step`th word from `start` on that has all bits of `mask`; -1 = none. */
function firstFull(words: Uint16Array, start: number, step: number, mask: number): number {
  for (let i = start; i < words.length; i += step) if (((words[i] ?? 0) & mask) === mask) return i;
  return -1;
}

/** Packs values (whole blocks) into a storage format. */
export function pack(dtype: WeightDType, values: ArrayLike<number>): Uint8Array {
  const format = formats[dtype];
  const blocks = values.length / format.block;
  const out = new Uint8Array(blocks * format.bytes);
  const view = new DataView(out.buffer);
  const block = new Array<number>(format.block).fill(0);
  for (let b = 0; b < blocks; b++) {
    for (let i = 0; i < format.block; i++) block[i] = values[b * format.block + i] ?? NaN;
    format.pack(block, view, b * format.bytes);
  }
  return out;
}
