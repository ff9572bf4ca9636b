/**
 * One row of a, as digits (digits.as.ts), dotted with rows of blocks of up to 7 bits (a class B as in blocks.as.ts), in integers. Within a
 * group, or half of it, the sum is exact; rounding to X loses about as much as a sum in f32 (at worst 8e-8 of Σ |a·w| over 576
 * elements, against 5e-8).
 */
import { F16_BITS, F16_REBIAS } from "../shared/float16.as";
import { hsum, madd, pinned, putSum } from "../shared/simd.as";
import { GROUP, SECOND, STEP, THIRD, TOTALS, digit, digitOfHalf, splitDigits } from "./digits.as";
import { lowerOf } from "./pairs.as";
import { TABLE, groupSums, offsetsAt, scaleAt } from "./tables.as";

/** c[N] (+)= alpha · w · a, rows [n, last), two at a time from the two halves of the run (dot_shorts.as.ts says why). */
// @ts-ignore: decorator
@inline
export function dotDigits<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  const x = scratch + 2 * TABLE + 64;
  splitDigits<B>(a, K, x);
  const sums = x + (<usize>K >> 5) * GROUP;
  if (b.offset && b.groups > 1) groupSums<B>(a, K, sums);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const first = pinned(i16x8.splat(1), scratch);
  const second = pinned(i16x8.splat(1 << <i16>SECOND), scratch);
  const third = pinned(i16x8.splat(-1 << <i16>THIRD), scratch);
  const offsetBits = b.offset ? F16_BITS : 0; // without offsets, what follows the scale is no number
  const bits = pinned(i32x4(F16_BITS, offsetBits, F16_BITS, offsetBits), scratch);
  const rebias = pinned(f32x4.splat(F16_REBIAS), scratch);
  const row = (<usize>K >> 5) / b.groups * b.bytes;
  const half = (last - n + 1) >> 1;
  const middle = n + half;
  for (; n < middle; n++) {
    const paired = n + half < last;
    const p = w + <usize>n * row;
    const q = paired ? p + half * row : p;
    if (b.groups > 1) dotBigPair<B>(x, sums, p, q, row, first, second, third, scratch);
    else dotPair<B>(x, p, q, row, fifteen, first, second, third, bits, rebias, scratch);
    putSum(c + (<usize>n << 2), alpha * load<f32>(scratch), accumulate);
    if (paired) putSum(c + (<usize>(n + half) << 2), alpha * load<f32>(scratch, 4), accumulate);
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
  let s = f32x4.splat(0), t = s, offsets = s;
  for (const end = p + row; p < end; p += b.bytes, q += b.bytes, x += GROUP) {
    const u0 = b.first(p, 0, fifteen), u1 = b.last(p, 0, fifteen);
    const v0 = b.first(q, 0, fifteen), v1 = b.last(q, 0, fifteen);
    let y0 = v128.load(x), y1 = v128.load(x, 16);
    let su = digit(y0, y1, u0, u1, first), sv = digit(y0, y1, v0, v1, first);
    y0 = v128.load(x, 32), y1 = v128.load(x, 48);
    su = i32x4.add(su, digit(y0, y1, u0, u1, second)), sv = i32x4.add(sv, digit(y0, y1, v0, v1, second));
    v128.store(out, sv); // keeps V8 from loading everything at once, which takes more registers than there are
    y0 = v128.load(x, 64), y1 = v128.load(x, 80);
    su = i32x4.add(su, digit(y0, y1, u0, u1, third)), sv = i32x4.add(sv, digit(y0, y1, v0, v1, third));
    v128.store(out, su); // … and asc from moving these sums behind the scales
    v128.store(out, sv);
    // Such a block begins with its scale and offset in binary16: those of both rows at once, times [step, Σx].
    const halves = i32x4.extend_low_i16x8_s(v128.load32_lane(q, v128.load32_zero(p), 1));
    const floats = f32x4.mul(v128.and(i32x4.shl(halves, 13), bits), rebias);
    const scaled = f32x4.mul(floats, v128.load64_splat(x, STEP));
    if (b.offset) offsets = f32x4.add(offsets, scaled);
    const totals = v128.load(x, TOTALS);
    s = madd(unbiased<B>(su, totals), v128.shuffle<i32>(scaled, scaled, 0, 0, 0, 0), s);
    t = madd(unbiased<B>(sv, totals), v128.shuffle<i32>(scaled, scaled, 2, 2, 2, 2), t);
  }
  store<f32>(out, hsum(s) + (b.offset ? f32x4.extract_lane(offsets, 1) : 0));
  store<f32>(out, hsum(t) + (b.offset ? f32x4.extract_lane(offsets, 3) : 0), 4);
}

/** The same for blocks of eight groups. */
// @ts-ignore: decorator
@inline
function dotBigPair<B>(
  x: usize, sums: usize, p: usize, q: usize, row: usize,
  first: v128, second: v128, third: v128, out: usize,
): void {
  const b = changetype<B>(0);
  const tables = out + 64;
  const ownMask = pinned(v128.load(b.ownMask), out), moreMask = pinned(v128.load(b.moreMask), out);
  let offsets = f32x4.splat(0), offsetT = offsets;
  for (let i: usize = 0; i < 64; i += 16) v128.store(out + i, f32x4.splat(0));
  for (const end = p + row; p < end; p += b.bytes, q += b.bytes, x += 8 * GROUP) {
    b.scales(p, tables);
    b.scales(q, tables + TABLE);
    if (b.offset)
      for (let i: usize = 0; i < offsetsAt<B>(); i += 16, sums += 16) {
        const at = tables + offsetsAt<B>() + i;
        offsets = madd(v128.load(at), v128.load(sums), offsets);
        offsetT = madd(v128.load(at, TABLE), v128.load(sums), offsetT);
      }
    addBlock<B>(x, p, tables, ownMask, moreMask, first, second, third, out);
    addBlock<B>(x, q, tables + TABLE, ownMask, moreMask, first, second, third, out + 32);
  }
  const s = f32x4.add(v128.load(out), v128.load(out, 16)), t = f32x4.add(v128.load(out, 32), v128.load(out, 48));
  store<f32>(out, hsum(b.offset ? f32x4.add(s, offsets) : s));
  store<f32>(out, hsum(b.offset ? f32x4.add(t, offsetT) : t), 4);
}

/**
 * Adds the block at p, whose scales are in `tables`, dotted with the digits at x, to the two vectors at `sums`. Both halves of a group are
 * treated alike, side by side, for engines that pair vectors (shared/wide.as.ts), and two groups that share bytes one after the other.
 */
// @ts-ignore: decorator
@inline
function addBlock<B>(
  x: usize, p: usize, tables: usize,
  ownMask: v128, moreMask: v128, first: v128, second: v128, third: v128, sums: usize,
): void {
  const b = changetype<B>(0);
  let s0 = v128.load(sums), s1 = v128.load(sums, 16);
  for (let i = 0; i < 4; i++) {
    const g = lowerOf<B>(i);
    let y = x + <usize>g * GROUP, table = scaleAt<B>(tables, g);
    const own = b.ownAt(p, i);
    const own0 = i32x4.shr_u(v128.load(own), b.ownFrom(i)), own1 = i32x4.shr_u(v128.load(own, 16), b.ownFrom(i));
    let more0 = own0, more1 = own1;
    if (b.more) {
      const more = b.moreAt(p, i);
      more0 = i32x4.shr_u(v128.load(more), b.moreFrom(i)), more1 = i32x4.shr_u(v128.load(more, 16), b.moreFrom(i));
    }
    let step = v128.load32_splat(y, STEP);
    let scale = f32x4.mul(v128.load32_splat(table), step), later = scale;
    if (b.split) later = f32x4.mul(v128.load32_splat(table, 4), step);
    let u0 = b.lower(own0, more0, ownMask, moreMask), u1 = b.lower(own1, more1, ownMask, moreMask);
    let sum0 = digitOfHalf(v128.load(y), u0, first), sum1 = digitOfHalf(v128.load(y, 16), u1, first);
    sum0 = i32x4.add(sum0, digitOfHalf(v128.load(y, 32), u0, second)), sum1 = i32x4.add(sum1, digitOfHalf(v128.load(y, 48), u1, second));
    sum0 = i32x4.add(sum0, digitOfHalf(v128.load(y, 64), u0, third)), sum1 = i32x4.add(sum1, digitOfHalf(v128.load(y, 80), u1, third));
    s0 = madd(unbiased<B>(sum0, v128.load(y, TOTALS)), scale, s0);
    s1 = madd(unbiased<B>(sum1, v128.load(y, TOTALS + 16)), later, s1);
    y += <usize>b.apart * GROUP;
    table += <usize>b.apart << (b.split ? 3 : 2);
    step = v128.load32_splat(y, STEP);
    scale = f32x4.mul(v128.load32_splat(table), step), later = scale;
    if (b.split) later = f32x4.mul(v128.load32_splat(table, 4), step);
    u0 = b.upper(own0, more0, ownMask, moreMask), u1 = b.upper(own1, more1, ownMask, moreMask);
    sum0 = digitOfHalf(v128.load(y), u0, first), sum1 = digitOfHalf(v128.load(y, 16), u1, first);
    sum0 = i32x4.add(sum0, digitOfHalf(v128.load(y, 32), u0, second)), sum1 = i32x4.add(sum1, digitOfHalf(v128.load(y, 48), u1, second));
    sum0 = i32x4.add(sum0, digitOfHalf(v128.load(y, 64), u0, third)), sum1 = i32x4.add(sum1, digitOfHalf(v128.load(y, 80), u1, third));
    s0 = madd(unbiased<B>(sum0, v128.load(y, TOTALS)), scale, s0);
    s1 = madd(unbiased<B>(sum1, v128.load(y, TOTALS + 16)), later, s1);
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
}

/** Sums of stored elements less their bias. */
// @ts-ignore: decorator
@inline
function unbiased<B>(sums: v128, totals: v128): v128 {
  return f32x4.convert_i32x4_s(changetype<B>(0).bias == 0 ? sums : i32x4.add(sums, totals));
}
