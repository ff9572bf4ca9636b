/**
 * GGUF's q2_K: 256 elements in {u8 scales[16]; u8 qs[64]; f16 d, dmin}; each 16 elements have a byte, scale in its low nibble and
 * minimum in its high one; w = d·scale·q − dmin·minimum. A q has two bits; four groups of 32 share 32 bytes of qs.
 */
import { getFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { partLoss, scaleParts } from "../minimums.ts";
import { type Place, bitsAt, clamped, orBits } from "../packing.ts";

/** Where element i's bits are: byte of qs, and the lowest of them. */
const place = (i: number): Place => [32 * (i >> 7) + (i & 31), 2 * ((i >> 5) & 3)];

export const q2_k = {
  block: 256,
  bytes: 84,
  ggml: 10,
  exponents: { at: [80, 82], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at + 80, true);
    const dmin = getFloat16(view, at + 82, true);
    for (let i = 0; i < 256; i++) {
      const both = view.getUint8(at + (i >> 4));
      const q = bitsAt(view, at + 16, place(i), 3);
      out[to + i] = d * (both & 15) * q - dmin * (both >> 4);
    }
  },
  pack(values, view, at) {
    for (const [j, { scale, minimum, steps }] of scaleParts(values, 16, 3, 15, view, at + 80).entries()) {
      view.setUint8(at + j, scale | (minimum << 4));
      for (let i = 16 * j; i < 16 * j + 16; i++) {
        const [byte, from] = place(i);
        orBits(view, at + 16 + byte, from, clamped(steps(values[i] ?? NaN), 0, 3));
      }
    }
  },
  loss: (values) => partLoss(values, 3, 15),
} satisfies Format;
