/**
 * GGUF's iq4_xs: 256 elements in {f16 d; u16 high; u8 low[4]; u8 qs[128]}; each group of 32 has a scale of six bits, four in `low`
 * and two in `high`; w = d·(scale − 32)·value[q], with iq4_nl's values; of a group's 16 bytes of qs low nibbles come first.
 */
import { getFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { values4 } from "../iq4_nl/iq4_nl.ts";
import { largest, nearest, orBits, parts, putNibbles, putScale } from "../packing.ts";

export const iq4_xs = {
  block: 256,
  bytes: 136,
  ggml: 23,
  exponents: { at: [0], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    const high = view.getUint16(at + 2, true);
    for (let i = 0; i < 256; i++) {
      const g = i >> 5;
      const low = (view.getUint8(at + 4 + (g >> 1)) >> (4 * (g & 1))) & 15;
      const scale = (low | (((high >> (2 * g)) & 3) << 4)) - 32;
      const q = (view.getUint8(at + 8 + 16 * g + (i & 15)) >> ((i & 16) >> 2)) & 15;
      out[to + i] = d * scale * (values4[q] ?? NaN);
    }
  },
  pack(values, view, at) {
    const groups = parts(values, 32);
    const heights = groups.map((group) => largest(group) / 113);
    const d = putScale(view, at, Math.max(...heights) / 31);
    for (const [g, height] of heights.entries()) {
      const scale = d === 0 ? 0 : Math.min(31, Math.ceil(height / d));
      orBits(view, at + 4 + (g >> 1), 4 * (g & 1), (scale + 32) & 15);
      orBits(view, at + 2 + (g >> 2), 2 * (g & 3), (scale + 32) >> 4);
      const steps = (x: number): number => nearest(values4, scale === 0 ? 0 : x / (d * scale));
      putNibbles(view, at + 8 + 16 * g, groups[g] ?? [], steps);
    }
  },
  // half the widest gap, of 24 in 113; a step is up to d too long, and d up to 2⁻¹⁰ of itself or 2⁻²⁴
  loss: (values) => 12 * ((largest(values) / 113) * (1 + 1 / 31) * (1 + 2 ** -10) + 32 * 2 ** -24),
} satisfies Format;
