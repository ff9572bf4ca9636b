/**
 * GGUF's iq4_nl: 32 elements in {f16 d; u8 qs[16]}, w = d·value[q]; low nibbles are elements 0–15, high ones 16–31. The 16 values lie
 * denser around 0 (ggml-common.h, kvalues_iq4nl).
 */
import { getFloat16, setFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { extreme, largest, nearest, putNibbles } from "../packing.ts";

export const values4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;

export const iq4_nl = {
  block: 32,
  bytes: 18,
  ggml: 20,
  exponents: { at: [0], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    for (let i = 0; i < 16; i++) {
      const q = view.getUint8(at + 2 + i);
      out[to + i] = d * (values4[q & 15] ?? NaN);
      out[to + 16 + i] = d * (values4[q >> 4] ?? NaN);
    }
  },
  pack(values, view, at) {
    const d = extreme(values) / -127;
    setFloat16(view, at, d, true);
    putNibbles(view, at + 2, values, (x) => nearest(values4, d === 0 ? 0 : x / d));
  },
  // 14 of 127, since there is no +127: it stops at +113; and 127 steps times the rounding of the step to binary16
  loss: (values) => (largest(values) / 127) * (14 + 127 * 2 ** -11) + 127 * 2 ** -25,
} satisfies Format;
