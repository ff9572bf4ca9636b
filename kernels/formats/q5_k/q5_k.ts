/**
 * GGUF's q5_K: 256 elements in {f16 d, dmin; u8 scales[12]; u8 high[32]; u8 qs[128]}; as q4_K, and the fifth bits of group g are the
 * bits g of `high`.
 */
import { getFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { partLoss, scaleParts } from "../minimums.ts";
import { clamped, orBits } from "../packing.ts";
import { nibble, putNibble } from "../q4_k/q4_k.ts";
import { putSixBits, sixBits } from "../six_bits.ts";

export const q5_k = {
  block: 256,
  bytes: 176,
  ggml: 13,
  exponents: { at: [0, 2], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    const dmin = getFloat16(view, at + 2, true);
    for (let i = 0; i < 256; i++) {
      const [scale, minimum] = sixBits(view, at + 4, i >> 5);
      const fifth = (view.getUint8(at + 16 + (i & 31)) >> (i >> 5)) & 1;
      out[to + i] = d * scale * (nibble(view, at + 48, i) | (fifth << 4)) - dmin * minimum;
    }
  },
  pack(values, view, at) {
    for (const [g, { scale, minimum, steps }] of scaleParts(values, 32, 31, 63, view, at).entries()) {
      putSixBits(view, at + 4, g, scale, minimum);
      for (let i = 32 * g; i < 32 * g + 32; i++) {
        const q = clamped(steps(values[i] ?? NaN), 0, 31);
        putNibble(view, at + 48, i, q & 15);
        orBits(view, at + 16 + (i & 31), g, q >> 4);
      }
    }
  },
  loss: (values) => partLoss(values, 31, 63),
} satisfies Format;
