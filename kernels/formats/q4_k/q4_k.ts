/**
 * GGUF's q4_K: 256 elements in {f16 d, dmin; u8 scales[12]; u8 qs[128]}; each group of 32 has a scale and a minimum of six bits;
 * w = d·scale·q − dmin·minimum. Of 32 bytes of qs the low nibbles are one group, the high ones the next.
 */
import { getFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { partLoss, scaleParts } from "../minimums.ts";
import { clamped, orNibble } from "../packing.ts";
import { putSixBits, sixBits } from "../six_bits.ts";

export const q4_k = {
  block: 256,
  bytes: 144,
  ggml: 12,
  exponents: { at: [0, 2], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    const dmin = getFloat16(view, at + 2, true);
    for (let i = 0; i < 256; i++) {
      const [scale, minimum] = sixBits(view, at + 4, i >> 5);
      out[to + i] = d * scale * nibble(view, at + 16, i) - dmin * minimum;
    }
  },
  pack(values, view, at) {
    for (const [g, { scale, minimum, steps }] of scaleParts(values, 32, 15, 63, view, at).entries()) {
      putSixBits(view, at + 4, g, scale, minimum);
      for (let i = 32 * g; i < 32 * g + 32; i++)
        putNibble(view, at + 16, i, clamped(steps(values[i] ?? NaN), 0, 15));
    }
  },
  loss: (values) => partLoss(values, 15, 63),
} satisfies Format;

const byteOf = (i: number): number => 32 * (i >> 6) + (i & 31);

/** Element i's nibble in qs. */
export function nibble(view: DataView, at: number, i: number): number {
  return (view.getUint8(at + byteOf(i)) >> ((i & 32) >> 3)) & 15;
}

export function putNibble(view: DataView, at: number, i: number, q: number): void {
  orNibble(view, at + byteOf(i), (i & 32) !== 0, q);
}
