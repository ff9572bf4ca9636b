/**
 * GGUF's q3_K: 256 elements in {u8 high[32]; u8 qs[64]; u8 scales[12]; f16 d}; w = d·(scale − 32)·(q − 4). Two bits of q lie as in
 * q2_K, the third of group g (of 32) in bit g of `high`; each 16 elements have a scale of six bits: four in the first eight bytes
 * of `scales`, two in the last four.
 */
import { getFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { type Place, bitsAt, clamped, largest, orBits, parts, putScale } from "../packing.ts";

/** Where the bits of the element, or of the scale j, are: byte, and the lowest bit. */
const two = (i: number): Place => [32 + 32 * (i >> 7) + (i & 31), 2 * ((i >> 5) & 3)];
const third = (i: number): Place => [i & 31, i >> 5];
const lowScale = (j: number): Place => [96 + (j & 7), 4 * (j >> 3)];
const highScale = (j: number): Place => [104 + (j & 3), 2 * (j >> 2)];

export const q3_k = {
  block: 256,
  bytes: 110,
  ggml: 11,
  exponents: { at: [108], mask: 0x7c00 },
  widen(view, at, out, to) {
    const bits = (place: Place, mask: number): number => bitsAt(view, at, place, mask);
    const d = getFloat16(view, at + 108, true);
    for (let i = 0; i < 256; i++) {
      const j = i >> 4;
      const scale = (bits(lowScale(j), 15) | (bits(highScale(j), 3) << 4)) - 32;
      out[to + i] = d * scale * ((bits(two(i), 3) | (bits(third(i), 1) << 2)) - 4);
    }
  },
  pack(values, view, at) {
    const put = ([byte, from]: Place, bits: number): void => orBits(view, at + byte, from, bits);
    const heights = parts(values, 16).map((part) => largest(part) / 3);
    const d = putScale(view, at + 108, Math.max(...heights) / 31);
    for (const [j, height] of heights.entries()) {
      const scale = d === 0 ? 0 : Math.min(31, Math.ceil(height / d));
      put(lowScale(j), (scale + 32) & 15);
      put(highScale(j), (scale + 32) >> 4);
      for (let i = 16 * j; i < 16 * j + 16; i++) {
        const q = scale === 0 ? 4 : clamped((values[i] ?? NaN) / (d * scale) + 4, 0, 7);
        put(two(i), q & 3);
        put(third(i), q >> 2);
      }
    }
  },
  // half a step, which is up to d too long, and d up to 2⁻¹⁰ of itself or 2⁻²⁴
  loss: (values) => (largest(values) / 3 / 2) * (1 + 1 / 31) * (1 + 2 ** -10) + 32 * 2 ** -24,
} satisfies Format;
