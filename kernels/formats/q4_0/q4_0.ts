/** GGUF's q4_0: 32 elements in {f16 d; u8 qs[16]}, w = d·(q − 8); low nibbles are elements 0–15, high ones 16–31. */
import { getFloat16, setFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { extreme, largest, putNibbles } from "../packing.ts";

export const q4_0 = {
  block: 32,
  bytes: 18,
  ggml: 2,
  exponents: { at: [0], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    for (let i = 0; i < 16; i++) {
      const q = view.getUint8(at + 2 + i);
      out[to + i] = d * ((q & 15) - 8);
      out[to + 16 + i] = d * ((q >> 4) - 8);
    }
  },
  pack(values, view, at) {
    const d = extreme(values) / -8;
    setFloat16(view, at, d, true);
    putNibbles(view, at + 2, values, (x) => (d === 0 ? 8 : x / d + 8));
  },
  // a whole step, since there is no +8: it stops at +7; and 16 steps times the rounding of the step to binary16
  loss: (values) => (largest(values) / 8) * (1 + 16 * 2 ** -11) + 1e-6,
} satisfies Format;
