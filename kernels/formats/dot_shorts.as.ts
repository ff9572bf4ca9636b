/**
 * One row of a dotted with rows of blocks, in integers of 16 bits (a class B as in blocks.as.ts). Each group of 32
 * activations becomes X · step with integers |X| < 2²² (a float's own precision at the group's largest element), and each X two
 * signed digits, so that one instruction multiplies eight shorts and adds neighbours. Within a group, or half of it, the sum is
 * exact; rounding to X loses about as much as a sum in f32 (at worst 8e-8 of Σ |a·w| over 576 elements, against 5e-8). Elements 0–7 and
 * 8–15 of a half are treated alike, side by side, for engines that pair vectors (shared/wide.as.ts).
 */
import { F16_BITS, F16_REBIAS } from "../shared/float16.as";
import { hmax, hsum, madd, pinned, putSum } from "../shared/simd.as";
import { TABLE, groupSums, offsetsAt, scaleAt } from "./tables.as";

/** X = low + 2¹²·high, both signed. Four products of an X and a byte must fit 32 bits. */
const LIMIT: f32 = 4177000;
const HIGH: i32 = 12;
/** The least value taken as a group's largest element: no division by 0. */
const LEAST: f32 = 1e-30;

// A group's digits in bytes: 32 low ones, 32 high ones, the step, Σx, and for each half (where halves have scales of their own) or
// for both what takes the bias of stored elements back. Nothing straddles cache lines.
const HIGHS: usize = 64;
const STEP: usize = 128;
const SUM: usize = 132;
const UNBIAS: usize = 160;

// @ts-ignore: decorator
@inline
function groupBytes<B>(): usize {
  return changetype<B>(0).split ? 256 : 192;
}

/** Behind the tables of two blocks: four vectors of sums, then a's digits. */
const OUT: usize = 2 * TABLE;
const DIGITS: usize = OUT + 64;

/**
 * c[N] (+)= alpha · w · a, rows [n, last). Two at a time share the loads of a; they come from the two halves of the run, since the
 * processor prefetches them as two streams then, which fails for neighbouring rows (q8_0: half the speed).
 */
// @ts-ignore: decorator
@inline
export function dotShorts<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  splitShorts<B>(a, K, scratch + DIGITS);
  const sums = scratch + DIGITS + (<usize>K >> 5) * groupBytes<B>();
  if (b.offset && b.groups > 1) groupSums<B>(a, K, sums);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const offsetBits = b.offset ? F16_BITS : 0; // without offsets, what follows the scale is no number
  const bits = pinned(i32x4(F16_BITS, offsetBits, F16_BITS, offsetBits), scratch);
  const rebias = pinned(f32x4.splat(F16_REBIAS), scratch);
  const row = (<usize>K >> 5) / b.groups * b.bytes;
  const half = (last - n + 1) >> 1;
  const middle = n + half;
  for (; n < middle; n++) {
    const paired = n + half < last;
    const p = w + <usize>n * row;
    dotPair<B>(scratch, sums, p, paired ? p + half * row : p, row, fifteen, bits, rebias);
    putSum(c + (<usize>n << 2), alpha * load<f32>(scratch, OUT), accumulate);
    if (paired) putSum(c + (<usize>(n + half) << 2), alpha * load<f32>(scratch, OUT + 4), accumulate);
  }
}

/** Rows at p and q dotted with the digits in `scratch`; the results go to its OUT. */
// @ts-ignore: decorator
@inline
function dotPair<B>(
  scratch: usize, sums: usize, p: usize, q: usize, row: usize,
  fifteen: v128, bits: v128, rebias: v128,
): void {
  const b = changetype<B>(0);
  const out = scratch + OUT;
  /** From the table of p's block to that of q's. */
  const other: usize = b.halves ? 8 : TABLE;
  let x = scratch + DIGITS;
  let s0 = f32x4.splat(0), s1 = s0, t0 = s0, t1 = s0, offsets = s0;
  let offsetS: f32 = 0, offsetT: f32 = 0;
  for (const end = p + row; p < end; p += b.bytes, q += b.bytes) {
    if (b.halves) {
      // Such a block begins with its scale and offset in binary16: those of both rows at once, times [step, Σx].
      const halves = i32x4.extend_low_i16x8_s(v128.load32_lane(q, v128.load32_zero(p), 1));
      const floats = f32x4.mul(v128.and(i32x4.shl(halves, 13), bits), rebias);
      const scaled = f32x4.mul(floats, v128.load64_splat(x, STEP));
      if (b.offset) offsets = f32x4.add(offsets, scaled);
      v128.store(scratch, scaled);
    } else {
      b.scales(p, scratch);
      b.scales(q, scratch + other);
    }
    let g = 0;
    do {
      const table = scaleAt<B>(scratch, g);
      const step = v128.load32_splat(x, STEP);
      let u = b.first(p, g, fifteen), v = b.last(p, g, fifteen);
      let u0 = i16x8.extend_low_i8x16_s(u), u1 = i16x8.extend_high_i8x16_s(u);
      let v0 = i16x8.extend_low_i8x16_s(v), v1 = i16x8.extend_high_i8x16_s(v);
      let scale = scaleOf<B>(table, step), second = b.split ? scaleOf<B>(table + 4, step) : scale;
      s0 = dotted<B>(x, u0, v0, scale, second, s0);
      s1 = dotted<B>(x + 16, u1, v1, scale, second, s1);
      u = b.first(q, g, fifteen), v = b.last(q, g, fifteen);
      u0 = i16x8.extend_low_i8x16_s(u), u1 = i16x8.extend_high_i8x16_s(u);
      v0 = i16x8.extend_low_i8x16_s(v), v1 = i16x8.extend_high_i8x16_s(v);
      scale = scaleOf<B>(table + other, step), second = b.split ? scaleOf<B>(table + other + 4, step) : scale;
      t0 = dotted<B>(x, u0, v0, scale, second, t0);
      t1 = dotted<B>(x + 16, u1, v1, scale, second, t1);
      x += groupBytes<B>();
    } while (b.groups > 1 && ++g < b.groups);
    if (b.offset && b.groups > 1) {
      for (let i: usize = 0; i < offsetsAt<B>(); i += 4, sums += 4) {
        offsetS += load<f32>(scratch + offsetsAt<B>() + i) * load<f32>(sums);
        offsetT += load<f32>(scratch + other + offsetsAt<B>() + i) * load<f32>(sums);
      }
    }
  }
  if (b.offset && b.groups == 1) {
    offsetS = f32x4.extract_lane(offsets, 1);
    offsetT = f32x4.extract_lane(offsets, 3);
  }
  v128.store(out, s0);
  v128.store(out, s1, 16);
  v128.store(out, t0, 32);
  v128.store(out, t1, 48);
  const s = hsum(f32x4.add(v128.load(out), v128.load(out, 16))) + offsetS;
  const t = hsum(f32x4.add(v128.load(out, 32), v128.load(out, 48))) + offsetT;
  store<f32>(out, s);
  store<f32>(out, t, 4);
}

/** The scale at `at` times the step. */
// @ts-ignore: decorator
@inline
function scaleOf<B>(at: usize, step: v128): v128 {
  const scale = v128.load32_splat(at);
  return changetype<B>(0).halves ? scale : f32x4.mul(scale, step);
}

/** `sum` + the digits at x times eight shorts u of a group's first half, and eight v of its second, times their scales. */
// @ts-ignore: decorator
@inline
function dotted<B>(x: usize, u: v128, v: v128, first: v128, second: v128, sum: v128): v128 {
  let low = i32x4.dot_i16x8_s(v128.load(x), u), high = i32x4.dot_i16x8_s(v128.load(x, HIGHS), u);
  if (changetype<B>(0).split) {
    sum = madd(value<B>(low, high, x), first, sum);
    low = i32x4.dot_i16x8_s(v128.load(x, 32), v), high = i32x4.dot_i16x8_s(v128.load(x, HIGHS + 32), v);
    return madd(value<B>(low, high, x + 32), second, sum);
  }
  low = i32x4.add(low, i32x4.dot_i16x8_s(v128.load(x, 32), v));
  high = i32x4.add(high, i32x4.dot_i16x8_s(v128.load(x, HIGHS + 32), v));
  return madd(value<B>(low, high, x), first, sum);
}

/** Sums of low and high digits times stored elements as a float, less the elements' bias. */
// @ts-ignore: decorator
@inline
function value<B>(low: v128, high: v128, x: usize): v128 {
  if (changetype<B>(0).bias != 0) low = i32x4.add(low, v128.load(x, UNBIAS));
  return f32x4.convert_i32x4_s(i32x4.add(low, i32x4.shl(high, HIGH)));
}

/** Writes the K elements at a as groups of digits. */
function splitShorts<B>(a: usize, K: i32, out: usize): void {
  // 1.5 · 2²³: adding it rounds to an integer and leaves that in the low bits (|X| < 2²²).
  const magic = pinned(f32x4.splat(12582912), out);
  const round = pinned(i32x4.splat(1 << (HIGH - 1)), out);
  const bias = changetype<B>(0).bias, split = changetype<B>(0).split;
  const less = i16x8.splat(-bias);
  for (const end = a + (<usize>K << 2); a < end; a += 128, out += groupBytes<B>()) {
    let top = f32x4.splat(0), sum = top;
    for (let i: usize = 0; i < 128; i += 16) {
      const values = v128.load(a + i);
      top = f32x4.max(top, f32x4.abs(values));
      sum = f32x4.add(sum, values);
    }
    const most = max<f32>(hmax(top), LEAST);
    const perStep = f32x4.splat(LIMIT / most);
    for (let i: usize = 0; i < 64; i += 16) {
      const from = a + (i << 1);
      const x0 = i32x4.sub(madd(v128.load(from), perStep, magic), magic);
      const x1 = i32x4.sub(madd(v128.load(from, 16), perStep, magic), magic);
      const h0 = i32x4.shr_s(i32x4.add(x0, round), HIGH), h1 = i32x4.shr_s(i32x4.add(x1, round), HIGH);
      const low = i16x8.narrow_i32x4_s(i32x4.sub(x0, i32x4.shl(h0, HIGH)), i32x4.sub(x1, i32x4.shl(h1, HIGH)));
      const high = i16x8.narrow_i32x4_s(h0, h1);
      v128.store(out + i, low);
      v128.store(out + i, high, HIGHS);
      if (bias != 0) {
        const highs = i32x4.shl(i32x4.dot_i16x8_s(high, less), HIGH);
        let taken = i32x4.add(i32x4.dot_i16x8_s(low, less), highs);
        if (!split && i >= 32) taken = i32x4.add(taken, v128.load(out + i, UNBIAS - 32));
        v128.store(out + (split ? i : i & 31), taken, UNBIAS);
      }
    }
    store<f32>(out, most / LIMIT, STEP);
    store<f32>(out, hsum(sum), SUM);
  }
}
