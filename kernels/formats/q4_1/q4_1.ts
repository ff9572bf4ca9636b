/** GGUF's q4_1: 32 elements in {f16 d, m; u8 qs[16]}, w = d·q + m; low nibbles are elements 0–15, high ones 16–31. */
import { getFloat16, setFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { largest, putNibbles } from "../packing.ts";

export const q4_1 = {
  block: 32,
  bytes: 20,
  ggml: 3,
  exponents: { at: [0, 2], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    const m = getFloat16(view, at + 2, true);
    for (let i = 0; i < 16; i++) {
      const q = view.getUint8(at + 4 + i);
      out[to + i] = d * (q & 15) + m;
      out[to + 16 + i] = d * (q >> 4) + m;
    }
  },
  pack(values, view, at) {
    const low = Math.min(...values);
    const d = (Math.max(...values) - low) / 15;
    setFloat16(view, at, d, true);
    setFloat16(view, at + 2, low, true);
    putNibbles(view, at + 4, values, (x) => (d === 0 ? 0 : (x - low) / d));
  },
  // half a step; 15 steps times the rounding of the step to binary16; the offset's rounding
  loss(values) {
    const step = (Math.max(...values) - Math.min(...values)) / 15;
    return step * (0.5 + 15 * 2 ** -11) + largest(values) * 2 ** -11 + 1e-6;
  },
} satisfies Format;
