/**
 * GGUF's q5_0: 32 elements in {f16 d; u32 high; u8 qs[16]}, w = d·(q − 16); low nibbles are elements 0–15, high ones 16–31, and
 * bit i of `high` is the fifth bit of element i.
 */
import { getFloat16, setFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { clamped, extreme, largest, orBits, orNibble } from "../packing.ts";

export const q5_0 = {
  block: 32,
  bytes: 22,
  ggml: 6,
  exponents: { at: [0], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    for (let i = 0; i < 32; i++) out[to + i] = d * (fiveBits(view, at + 2, i) - 16);
  },
  pack(values, view, at) {
    const d = extreme(values) / -16;
    setFloat16(view, at, d, true);
    putFiveBits(view, at + 2, values, (x) => (d === 0 ? 16 : x / d + 16));
  },
  // a whole step, since there is no +16: it stops at +15; and 32 steps times the rounding of the step to binary16
  loss: (values) => (largest(values) / 16) * (1 + 32 * 2 ** -11) + 1e-6,
} satisfies Format;

/** Element i of {u32 high; u8 qs[16]}. */
export function fiveBits(view: DataView, at: number, i: number): number {
  const nibble = (view.getUint8(at + 4 + (i % 16)) >> (i < 16 ? 0 : 4)) & 15;
  return nibble | (((view.getUint32(at, true) >>> i) & 1) << 4);
}

export function putFiveBits(
  view: DataView,
  at: number,
  values: readonly number[],
  stepsOf: (x: number) => number,
): void {
  values.forEach((x, i) => {
    const q = clamped(stepsOf(x), 0, 31);
    orNibble(view, at + 4 + (i % 16), i >= 16, q & 15);
    orBits(view, at + (i >> 3), i & 7, q >> 4);
  });
}
