/**
 * One row of a dotted with rows of blocks of up to 6 bits, in integers (a class B as in blocks.as.ts; its bytes are 0…63). Each
 * group of 32 activations becomes X · step with integers |X| < 2²² (a float's own precision at the group's largest element), and
 * each X three signed digits of at most 8 bits, so that one instruction multiplies and adds 16 bytes. Within a group, or half of
 * it, the sum is exact; rounding to X loses about as much as a sum in f32 (at worst 8e-8 of Σ |a·w| over 576 elements, against
 * 5e-8). Relaxed SIMD only: i16x8.relaxed_dot, whose second operand is of 7 bits.
 */
import { F16_BITS, F16_REBIAS } from "../shared/float16.as";
import { TABLE, offsetsAt, scaleAt } from "./blocks.as";
import { hmax, hsum, madd, pinned, putSum } from "../shared/simd.as";

// X = a0 + 2⁸·a1 + 2¹⁵·a2, the last digit stored negated: a 16-bit lane holds −2¹⁵ but not 2¹⁵.
const LIMIT: f32 = 4177000; // 127·2¹⁵ + what rounding may add
/** The least value taken as a block's largest element: no division by 0. */
const LEAST: f32 = 1e-30;
const SECOND: i32 = 8;
const THIRD: i32 = 15;

/**
 * Bytes of the digits of a group: a0, a1, a2 of 32 elements; the step, and Σx of the group or of each half; −ΣX of each half in four
 * lanes, which takes back the bias of stored elements.
 */
const GROUP: usize = 144;
const STEP: usize = 96;
const SUMS: usize = 100;
const TOTALS: usize = 112;

/** c[N] (+)= alpha · w · a, rows [n, last). */
// @ts-ignore: decorator
@inline
export function dotDigits<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  const x = scratch + 2 * TABLE + 16;
  splitDigits<B>(a, K, x);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const first = pinned(i16x8.splat(1), scratch);
  const second = pinned(i16x8.splat(1 << <i16>SECOND), scratch);
  const third = pinned(i16x8.splat(-1 << <i16>THIRD), scratch);
  const bits = pinned(i32x4.splat(F16_BITS), scratch);
  const rebias = pinned(f32x4.splat(F16_REBIAS), scratch);
  const row = (<usize>K >> 5) / b.groups * b.bytes;
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
  const tables = out + 16;
  let s = f32x4.splat(0), t = s, offsets = s;
  let offsetS: f32 = 0, offsetT: f32 = 0;
  for (const end = p + row; p < end; p += b.bytes, q += b.bytes) {
    if (b.groups > 1) {
      b.scales(p, tables);
      b.scales(q, tables + TABLE);
    }
    let g = 0;
    do {
      const table = scaleAt<B>(tables, g);
      const u0 = b.first(p, g, fifteen), u1 = b.last(p, g, fifteen);
      const v0 = b.first(q, g, fifteen), v1 = b.last(q, g, fifteen);
      const step = v128.load32_splat(x, STEP);
      if (b.split) {
        let y = v128.load(x);
        let su = half(y, u0, first), sv = half(y, v0, first);
        y = v128.load(x, 32);
        su = i32x4.add(su, half(y, u0, second)), sv = i32x4.add(sv, half(y, v0, second));
        y = v128.load(x, 64);
        su = i32x4.add(su, half(y, u0, third)), sv = i32x4.add(sv, half(y, v0, third));
        s = madd(unbiased<B>(su, x), f32x4.mul(v128.load32_splat(table), step), s);
        t = madd(unbiased<B>(sv, x), f32x4.mul(v128.load32_splat(table, TABLE), step), t);
        y = v128.load(x, 16);
        su = half(y, u1, first), sv = half(y, v1, first);
        y = v128.load(x, 48);
        su = i32x4.add(su, half(y, u1, second)), sv = i32x4.add(sv, half(y, v1, second));
        y = v128.load(x, 80);
        su = i32x4.add(su, half(y, u1, third)), sv = i32x4.add(sv, half(y, v1, third));
        s = madd(unbiased<B>(su, x + 16), f32x4.mul(v128.load32_splat(table, 4), step), s);
        t = madd(unbiased<B>(sv, x + 16), f32x4.mul(v128.load32_splat(table, TABLE + 4), step), t);
      } else {
        let y0 = v128.load(x), y1 = v128.load(x, 16);
        let su = digit(y0, y1, u0, u1, first), sv = digit(y0, y1, v0, v1, first);
        y0 = v128.load(x, 32), y1 = v128.load(x, 48);
        su = i32x4.add(su, digit(y0, y1, u0, u1, second)), sv = i32x4.add(sv, digit(y0, y1, v0, v1, second));
        v128.store(out, sv); // keeps V8 from loading everything at once, which takes more registers than there are
        y0 = v128.load(x, 64), y1 = v128.load(x, 80);
        su = i32x4.add(su, digit(y0, y1, u0, u1, third)), sv = i32x4.add(sv, digit(y0, y1, v0, v1, third));
        v128.store(out, su); // … and asc from moving these sums behind the scales
        v128.store(out, sv);
        if (b.groups > 1) {
          s = madd(unbiased<B>(su, x), f32x4.mul(v128.load32_splat(table), step), s);
          t = madd(unbiased<B>(sv, x), f32x4.mul(v128.load32_splat(table, TABLE), step), t);
        } else {
          // Such a block begins with its scale and offset in binary16: those of both rows at once, times [step, Σx].
          const halves = i32x4.extend_low_i16x8_s(v128.load32_lane(q, v128.load32_zero(p), 1));
          const floats = f32x4.mul(v128.and(i32x4.shl(halves, 13), bits), rebias);
          const scaled = f32x4.mul(floats, v128.load64_splat(x, STEP));
          if (b.offset) offsets = f32x4.add(offsets, scaled);
          s = madd(unbiased<B>(su, x), v128.shuffle<i32>(scaled, scaled, 0, 0, 0, 0), s);
          t = madd(unbiased<B>(sv, x), v128.shuffle<i32>(scaled, scaled, 2, 2, 2, 2), t);
        }
      }
      if (b.offset && b.groups > 1) {
        const at = table + offsetsAt<B>();
        offsetS += load<f32>(at) * load<f32>(x, SUMS);
        offsetT += load<f32>(at, TABLE) * load<f32>(x, SUMS);
        if (b.split) {
          offsetS += load<f32>(at, 4) * load<f32>(x, SUMS + 4);
          offsetT += load<f32>(at, TABLE + 4) * load<f32>(x, SUMS + 4);
        }
      }
      x += GROUP;
    } while (b.groups > 1 && ++g < b.groups);
  }
  if (b.offset && b.groups == 1) {
    offsetS = f32x4.extract_lane(offsets, 1);
    offsetT = f32x4.extract_lane(offsets, 3);
  }
  store<f32>(out, hsum(s) + offsetS);
  store<f32>(out, hsum(t) + offsetT, 4);
}

/** Sums of stored elements less their bias, whose totals lie `TOTALS` behind `x`. */
// @ts-ignore: decorator
@inline
function unbiased<B>(sums: v128, x: usize): v128 {
  const bias = changetype<B>(0).bias;
  if (bias != 0) sums = i32x4.add(sums, i32x4.shl(v128.load(x, TOTALS), ctz(bias)));
  return f32x4.convert_i32x4_s(sums);
}

/** Writes the K elements at a as groups of digits. */
function splitDigits<B>(a: usize, K: i32, out: usize): void {
  // 1.5 · 2²³: adding it rounds to an integer and leaves that in the low bits (|X| < 2²²).
  const split = changetype<B>(0).split;
  const magic = pinned(f32x4.splat(12582912), out);
  const low = pinned(i16x8.splat(1 << <i16>(SECOND - 1)), out);
  const high = pinned(i32x4.splat(1 << (THIRD - 1)), out);
  for (const end = a + (<usize>K << 2); a < end; a += 128, out += GROUP) {
    let top = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 16) top = f32x4.max(top, f32x4.abs(v128.load(a + i)));
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
      if (split) v128.store(out + i, i32x4.neg(total), TOTALS);
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
    const sum = sumOf16(a);
    store<f32>(out, hsum(split ? sum : f32x4.add(sum, sumOf16(a + 64))), SUMS);
    if (!split) v128.store(out, totals, TOTALS);
    else store<f32>(out, hsum(sumOf16(a + 64)), SUMS + 4);
  }
}

// @ts-ignore: decorator
@inline
function sumOf16(a: usize): v128 {
  return f32x4.add(f32x4.add(v128.load(a), v128.load(a, 16)), f32x4.add(v128.load(a, 32), v128.load(a, 48)));
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
function half(y: v128, bytes: v128, unit: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(y, bytes), unit);
  else return unit; // never reached: dotRows calls this in relaxed builds only
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
