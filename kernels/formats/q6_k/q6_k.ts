/**
 * GGUF's q6_K: 256 elements in {u8 low[128]; u8 high[64]; i8 scales[16]; f16 d}; each 16 elements have a scale;
 * w = d·scale·(q − 32). Of each 128 elements, `low` has 64 bytes (elements 0–63 in low nibbles, the others in high ones) and `high`
 * 32, with two bits of each group of 32.
 */
import { getFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { type Place, bitsAt, clamped, largest, orBits, parts, putScale } from "../packing.ts";

/** Where element i's bits are: byte, and the lowest of them. */
const low = (i: number): Place => [64 * (i >> 7) + (i & 63), (i & 64) >> 4];
const high = (i: number): Place => [128 + 32 * (i >> 7) + (i & 31), 2 * ((i >> 5) & 3)];

export const q6_k = {
  block: 256,
  bytes: 210,
  ggml: 14,
  exponents: { at: [208], mask: 0x7c00 },
  widen(view, at, out, to) {
    const bits = (place: Place, mask: number): number => bitsAt(view, at, place, mask);
    const d = getFloat16(view, at + 208, true);
    for (let i = 0; i < 256; i++) {
      const q = bits(low(i), 15) | (bits(high(i), 3) << 4);
      out[to + i] = d * view.getInt8(at + 192 + (i >> 4)) * (q - 32);
    }
  },
  pack(values, view, at) {
    const put = ([byte, from]: Place, bits: number): void => orBits(view, at + byte, from, bits);
    const heights = parts(values, 16).map((part) => largest(part) / 31);
    const d = putScale(view, at + 208, Math.max(...heights) / 127);
    for (const [j, height] of heights.entries()) {
      const scale = d === 0 ? 0 : Math.min(127, Math.ceil(height / d));
      view.setInt8(at + 192 + j, scale);
      for (let i = 16 * j; i < 16 * j + 16; i++) {
        const q = scale === 0 ? 32 : clamped((values[i] ?? NaN) / (d * scale) + 32, 0, 63);
        put(low(i), q & 15);
        put(high(i), q >> 4);
      }
    }
  },
  // half a step, which is up to d too long, and d up to 2⁻¹⁰ of itself or 2⁻²⁴
  loss: (values) => (largest(values) / 31 / 2) * (1 + 1 / 127) * (1 + 2 ** -10) + 64 * 2 ** -24,
} satisfies Format;
