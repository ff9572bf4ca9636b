/** GGUF's q5_1: 32 elements in {f16 d, m; u32 high; u8 qs[16]}, w = d·q + m; the bits of q lie as in q5_0. */
import { getFloat16, setFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { largest } from "../packing.ts";
import { fiveBits, putFiveBits } from "../q5_0/q5_0.ts";

export const q5_1 = {
  block: 32,
  bytes: 24,
  ggml: 7,
  exponents: { at: [0, 2], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    const m = getFloat16(view, at + 2, true);
    for (let i = 0; i < 32; i++) out[to + i] = d * fiveBits(view, at + 4, i) + m;
  },
  pack(values, view, at) {
    const low = Math.min(...values);
    const d = (Math.max(...values) - low) / 31;
    setFloat16(view, at, d, true);
    setFloat16(view, at + 2, low, true);
    putFiveBits(view, at + 4, values, (x) => (d === 0 ? 0 : (x - low) / d));
  },
  // half a step; 31 steps times the rounding of the step to binary16; the offset's rounding
  loss(values) {
    const step = (Math.max(...values) - Math.min(...values)) / 31;
    return step * (0.5 + 31 * 2 ** -11) + largest(values) * 2 ** -11 + 1e-6;
  },
} satisfies Format;
