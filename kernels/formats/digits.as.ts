/**
 * One row of a dotted with rows of 4-bit blocks, in integers (a class B as in blocks.as.ts; the 16 bytes of elements are at the
 * block's end; without an offset a stored element is the weight + 8). Each block of 32 activations becomes X · step with
 * integers |X| < 2²² (a float's own precision at the block's largest element), and each X three signed digits of at most 8
 * bits, so that one instruction multiplies and adds 16 bytes. Within a block the sum is exact; rounding to X loses about as
 * much as a sum in f32 (at worst 8e-8 of Σ |a·w| over 576 elements, against 5e-8). Relaxed SIMD only: i16x8.relaxed_dot,
 * whose second operand is 0…15 here.
 */
import { F16_BITS, F16_REBIAS } from "../shared/float16.as";
import { hmax, hsum, madd, pinned, putSum } from "../shared/simd.as";

// X = a0 + 2⁸·a1 + 2¹⁵·a2, the last digit stored negated: a 16-bit lane holds −2¹⁵ but not 2¹⁵.
const LIMIT: f32 = 4177000; // 127·2¹⁵ + what rounding may add
/** The least value taken as a block's largest element: no division by 0. */
const LEAST: f32 = 1e-30;
const SECOND: i32 = 8;
const THIRD: i32 = 15;

/**
 * Bytes of a block of digits: a0, a1, a2 of 32 elements; [step, Σx] twice, the factors of scales and offsets; −8 · ΣX in four
 * lanes, which takes back the 8 of stored elements without an offset.
 */
const BLOCK: usize = 128;

/** c[N] (+)= alpha · w · a, rows [n, last). */
// @ts-ignore: decorator
@inline
export function dotDigits<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  const x = scratch + 16;
  splitDigits(a, K, x);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const first = pinned(i16x8.splat(1), scratch);
  const second = pinned(i16x8.splat(1 << <i16>SECOND), scratch);
  const third = pinned(i16x8.splat(-1 << <i16>THIRD), scratch);
  const bits = pinned(b.offset ? i32x4.splat(F16_BITS) : i32x4(F16_BITS, 0, F16_BITS, 0), scratch);
  const rebias = pinned(f32x4.splat(F16_REBIAS), scratch);
  const bytes = b.bytes;
  const row = (<usize>K >> 5) * bytes;
  for (; n < last; n += 2) {
    const p = w + <usize>n * row;
    const q = n + 1 < last ? p + row : p;
    dotPair<B>(x, p, q, row, fifteen, first, second, third, bits, rebias, scratch);
    const to = c + (<usize>n << 2);
    putSum(to, alpha * load<f32>(scratch), accumulate);
    if (q > p) putSum(to + 4, alpha * load<f32>(scratch, 4), accumulate);
  }
}

/** Rows at p and q dotted with the digits at x; the results go to `out`. */
// @ts-ignore: decorator
@inline
function dotPair<B>(
  x: usize, p: usize, q: usize, row: usize,
  fifteen: v128, first: v128, second: v128, third: v128, bits: v128, rebias: v128, out: usize,
): void {
  const b = changetype<B>(0);
  const bytes = b.bytes;
  const at: usize = bytes - 16;
  let s = f32x4.splat(0), t = s, offsets = s;
  for (const end = p + row; p < end; p += bytes, q += bytes, x += BLOCK) {
    const u = v128.load(p + at);
    const v = v128.load(q + at);
    const u0 = v128.and(u, fifteen), u1 = v128.and(i32x4.shr_u(u, 4), fifteen);
    const v0 = v128.and(v, fifteen), v1 = v128.and(i32x4.shr_u(v, 4), fifteen);
    let y0 = v128.load(x), y1 = v128.load(x, 16);
    let su = digit(y0, y1, u0, u1, first), sv = digit(y0, y1, v0, v1, first);
    y0 = v128.load(x, 32), y1 = v128.load(x, 48);
    su = i32x4.add(su, digit(y0, y1, u0, u1, second)), sv = i32x4.add(sv, digit(y0, y1, v0, v1, second));
    v128.store(out, sv); // keeps V8 from loading everything at once, which takes more registers than there are
    y0 = v128.load(x, 64), y1 = v128.load(x, 80);
    su = i32x4.add(su, digit(y0, y1, u0, u1, third)), sv = i32x4.add(sv, digit(y0, y1, v0, v1, third));
    v128.store(out, su); // … and asc from moving these sums behind the scales
    v128.store(out, sv);
    // [d, m] of both rows, as f32
    const halves = i32x4.extend_low_i16x8_s(v128.load32_lane(q, v128.load32_zero(p), 1));
    const scales = f32x4.mul(v128.and(i32x4.shl(halves, 13), bits), rebias);
    const factors = v128.load(x, 96);
    if (!b.offset) {
      const excess = v128.load(x, 112);
      su = i32x4.add(su, excess), sv = i32x4.add(sv, excess);
    }
    const scaled = f32x4.mul(scales, factors);
    if (b.offset) offsets = f32x4.add(offsets, scaled);
    s = madd(f32x4.convert_i32x4_s(su), v128.shuffle<i32>(scaled, scaled, 0, 0, 0, 0), s);
    t = madd(f32x4.convert_i32x4_s(sv), v128.shuffle<i32>(scaled, scaled, 2, 2, 2, 2), t);
  }
  store<f32>(out, hsum(s) + f32x4.extract_lane(offsets, 1));
  store<f32>(out, hsum(t) + f32x4.extract_lane(offsets, 3), 4);
}

/** Writes the K elements at a as blocks of digits. */
function splitDigits(a: usize, K: i32, out: usize): void {
  // 1.5 · 2²³: adding it rounds to an integer and leaves that in the low bits (|X| < 2²²).
  const magic = pinned(f32x4.splat(12582912), out);
  const low = pinned(i16x8.splat(1 << <i16>(SECOND - 1)), out);
  const high = pinned(i32x4.splat(1 << (THIRD - 1)), out);
  for (const end = a + (<usize>K << 2); a < end; a += 128, out += BLOCK) {
    let top = f32x4.splat(0), sum = top;
    for (let i: usize = 0; i < 128; i += 16) {
      const x = v128.load(a + i);
      top = f32x4.max(top, f32x4.abs(x));
      sum = f32x4.add(sum, x);
    }
    const most = max<f32>(hmax(top), LEAST);
    const perStep = f32x4.splat(LIMIT / most);
    let total = i32x4.splat(0);
    for (let i: usize = 0; i < 32; i += 16) {
      const from = a + (i << 2);
      const x0 = i32x4.sub(madd(v128.load(from), perStep, magic), magic);
      const x1 = i32x4.sub(madd(v128.load(from, 16), perStep, magic), magic);
      const x2 = i32x4.sub(madd(v128.load(from, 32), perStep, magic), magic);
      const x3 = i32x4.sub(madd(v128.load(from, 48), perStep, magic), magic);
      total = i32x4.add(total, i32x4.add(i32x4.add(x0, x1), i32x4.add(x2, x3)));
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
    const step = most / LIMIT;
    const offset = hsum(sum);
    v128.store(out, f32x4(step, offset, step, offset), 96);
    v128.store(out, i32x4.mul(total, i32x4.splat(-8)), 112);
  }
}

/** x without its third digit. */
// @ts-ignore: decorator
@inline
function rest(x: v128, digit: v128): v128 {
  return i32x4.sub(x, i32x4.shl(digit, THIRD));
}

/** A digit of 32 elements times their bytes, times the digit's unit. */
// @ts-ignore: decorator
@inline
function digit(y0: v128, y1: v128, bytes0: v128, bytes1: v128, unit: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const first = i16x8.relaxed_dot_i8x16_i7x16_s(y0, bytes0);
    return i32x4.dot_i16x8_s(i16x8.add(first, i16x8.relaxed_dot_i8x16_i7x16_s(y1, bytes1)), unit);
  } else {
    return unit; // never reached: dotRows calls this in relaxed builds only
  }
}
