/**
 * One row of a as digits for products with blocks of up to 7 bits (dot_digits.as.ts). Each group of 32 activations becomes X · step
 * with integers |X| < 2²² (a float's own precision at the group's largest element), and each X three signed digits of at most 8 bits,
 * so that one instruction multiplies and adds 16 bytes. Relaxed SIMD only: i16x8.relaxed_dot, whose second operand is of 7 bits.
 */
import { hmax, hsum, madd, pinned } from "../shared/simd.as";

// X = a0 + 2⁸·a1 + 2¹⁵·a2, the last digit stored negated: a 16-bit lane holds −2¹⁵ but not 2¹⁵.
const LIMIT: f32 = 4177000; // 127·2¹⁵ + what rounding may add
/** The least value taken as a group's largest element: no division by 0. */
export const LEAST: f32 = 1e-30;
export const SECOND: i32 = 8;
export const THIRD: i32 = 15;

/**
 * Bytes of the digits of a group: a0, a1, a2 of 32 elements; the step, and Σx of the group; −bias · ΣX of the group in four lanes, or of each
 * half where halves have scales of their own, which takes back the bias of stored elements.
 */
export const GROUP: usize = 144;
export const STEP: usize = 96;
const SUM: usize = 100;
export const TOTALS: usize = 112;

/** Writes the K elements at a as groups of digits. */
export function splitDigits<B>(a: usize, K: i32, out: usize): void {
  // 1.5 · 2²³: adding it rounds to an integer and leaves that in the low bits (|X| < 2²²).
  const split = changetype<B>(0).split, bits = ctz(<i32>changetype<B>(0).bias);
  const magic = pinned(f32x4.splat(12582912), out);
  const low = pinned(i16x8.splat(1 << <i16>(SECOND - 1)), out);
  const high = pinned(i32x4.splat(1 << (THIRD - 1)), out);
  for (const end = a + (<usize>K << 2); a < end; a += 128, out += GROUP) {
    let top = f32x4.splat(0), sum = top;
    for (let i: usize = 0; i < 128; i += 16) {
      const values = v128.load(a + i);
      top = f32x4.max(top, f32x4.abs(values));
      sum = f32x4.add(sum, values);
    }
    const most = max<f32>(hmax(top), LEAST);
    const perStep = f32x4.splat(LIMIT / most);
    let totals = i32x4.splat(0);
    for (let i: usize = 0; i < 32; i += 16) {
      const from = a + (i << 2);
      const x0 = i32x4.sub(madd(v128.load(from), perStep, magic), magic);
      const x1 = i32x4.sub(madd(v128.load(from, 16), perStep, magic), magic);
      const x2 = i32x4.sub(madd(v128.load(from, 32), perStep, magic), magic);
      const x3 = i32x4.sub(madd(v128.load(from, 48), perStep, magic), magic);
      const total = i32x4.add(i32x4.add(x0, x1), i32x4.add(x2, x3));
      if (split) v128.store(out + i, i32x4.shl(i32x4.neg(total), bits), TOTALS);
      else totals = i32x4.sub(totals, total);
      const h0 = i32x4.shr_s(i32x4.add(x0, high), THIRD), h1 = i32x4.shr_s(i32x4.add(x1, high), THIRD);
      const h2 = i32x4.shr_s(i32x4.add(x2, high), THIRD), h3 = i32x4.shr_s(i32x4.add(x3, high), THIRD);
      const r0 = i16x8.narrow_i32x4_s(rest(x0, h0), rest(x1, h1));
      const r1 = i16x8.narrow_i32x4_s(rest(x2, h2), rest(x3, h3));
      const m0 = i16x8.shr_s(i16x8.add(r0, low), SECOND), m1 = i16x8.shr_s(i16x8.add(r1, low), SECOND);
      const to = out + i;
      v128.store(to, i8x16.narrow_i16x8_s(i16x8.sub(r0, i16x8.shl(m0, SECOND)), i16x8.sub(r1, i16x8.shl(m1, SECOND))));
      v128.store(to, i8x16.narrow_i16x8_s(m0, m1), 32);
      v128.store(
        to,
        i8x16.neg(i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(h0, h1), i16x8.narrow_i32x4_s(h2, h3))),
        64,
      );
    }
    store<f32>(out, most / LIMIT, STEP);
    store<f32>(out, hsum(sum), SUM);
    if (!split) v128.store(out, i32x4.shl(totals, bits), TOTALS);
  }
}

/** x without its third digit. */
// @ts-ignore: decorator
@inline
function rest(x: v128, digit: v128): v128 {
  return i32x4.sub(x, i32x4.shl(digit, THIRD));
}

/** A digit of 16 elements times their bytes, times the digit's unit. */
// @ts-ignore: decorator
@inline
export function digitOfHalf(y: v128, bytes: v128, unit: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(y, bytes), unit);
  else return unit; // never reached: dotRows calls this in relaxed builds only
}

/** A digit of 32 elements times their bytes, times the digit's unit. */
// @ts-ignore: decorator
@inline
export function digit(y0: v128, y1: v128, bytes0: v128, bytes1: v128, unit: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const first = i16x8.relaxed_dot_i8x16_i7x16_s(y0, bytes0);
    return i32x4.dot_i16x8_s(i16x8.add(first, i16x8.relaxed_dot_i8x16_i7x16_s(y1, bytes1)), unit);
  } else {
    return unit; // never reached: dotRows calls this in relaxed builds only
  }
}
