/**
 * Formats that store blocks of small integers with a scale. What is computed with is a group of 32 elements; a block has
 * one or eight of them. A format describes its blocks by a class B without fields, whose methods are compiled into each place
 * where they are called:
 *   bytes    how many a block takes
 *   groups   how many it has
 *   split    whether the two halves of a group have scales (and offsets) of their own
 *   offset   whether there are offsets
 *   first    elements 0–15 of group `g` of the block at `at`, as stored, in bytes; `fifteen` is 15 in all lanes
 *   last     elements 16–31
 *   bias     what stored elements are too large by: 0 or a power of two
 *   scales   writes the block's scales, one for each group or half of one, and as many offsets behind them
 *   digits   whether digits.as.ts does the dot product in relaxed builds
 * Values are exact but for the one rounding of scale · byte + offset.
 */
import { hsum, madd, pinned, putSum } from "../shared/simd.as";
import { WIDEN_SCRATCH } from "./widen.both";
import { dotDigits } from "./digits.as";

/** The swizzle that puts bytes [4·group, 4·group + 4) into the top bytes of the four lanes, for `bytesToF32`; to be pinned. */
// @ts-ignore: decorator
@inline
function laneTops(group: i32): v128 {
  const b = <i8>(4 * group);
  return i8x16(-1, -1, -1, b, -1, -1, -1, b + 1, -1, -1, -1, b + 2, -1, -1, -1, b + 3);
}

/**
 * Four signed bytes of v, chosen by `tops`, as f32 times 2^24: one swizzle instead of two widening steps; `blockScale`
 * divides by 2^24 again.
 */
// @ts-ignore: decorator
@inline
function bytesToF32(v: v128, tops: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.convert_i32x4_s(i8x16.relaxed_swizzle(v, tops));
  else return f32x4.convert_i32x4_s(i8x16.swizzle(v, tops));
}

/** Stored bytes less their bias, which is in all lanes of `bias`. */
// @ts-ignore: decorator
@inline
function signed<B>(bytes: v128, bias: v128): v128 {
  return changetype<B>(0).bias == 0 ? bytes : i8x16.sub(bytes, bias);
}

/** What divides out the 2^24 of `bytesToF32`. */
const UNIT: f32 = 1.0 / 16777216.0;

export const TABLE: usize = WIDEN_SCRATCH;

/** Where group g's first scale is in a table; its first offset is `offsetsAt` behind. */
// @ts-ignore: decorator
@inline
export function scaleAt<B>(table: usize, g: i32): usize {
  return table + (<usize>g << (changetype<B>(0).split ? 3 : 2));
}

// @ts-ignore: decorator
@inline
export function offsetsAt<B>(): usize {
  const b = changetype<B>(0);
  return <usize>b.groups << (b.split ? 3 : 2);
}

/** Eight elements: scale · byte, plus the offset if there is one. */
// @ts-ignore: decorator
@inline
function store8(out: usize, v: v128, t0: v128, t1: v128, add: bool, scale: v128, offset: v128): void {
  let a = f32x4.mul(bytesToF32(v, t0), scale);
  let b = f32x4.mul(bytesToF32(v, t1), scale);
  if (add) {
    a = f32x4.add(a, offset);
    b = f32x4.add(b, offset);
  }
  v128.store(out, a);
  v128.store(out, b, 16);
}

/**
 * Widens `count` groups, from element `element` on. They follow each other in a row of the weight, or lie `stride` elements
 * apart, in a column of it. Each gives four times eight floats: two `near` bytes apart, `far` bytes on two more; those of the next
 * group follow `step` bytes after.
 */
function widenGroups<B>(
  base: usize, element: usize, stride: usize, count: i32, out: usize, near: usize, far: usize, step: usize, scratch: usize,
): void {
  const b = changetype<B>(0);
  const t0 = pinned(laneTops(0), scratch);
  const t1 = pinned(laneTops(1), scratch);
  const t2 = pinned(laneTops(2), scratch);
  const t3 = pinned(laneTops(3), scratch);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const bias = pinned(i8x16.splat(b.bias), scratch);
  const unit = f32x4.splat(UNIT);
  let known: usize = 0;
  let group = element >> 5;
  for (; count > 0; count--, out += step, group += stride >> 5) {
    const at = base + (group / b.groups) * b.bytes;
    const g = <i32>(group % b.groups);
    if (b.groups == 1 || at != known) b.scales(at, scratch);
    known = at;
    const table = scaleAt<B>(scratch, g);
    let scale = f32x4.mul(v128.load32_splat(table), unit);
    let offset = b.offset ? v128.load32_splat(table + offsetsAt<B>()) : f32x4.splat(0);
    const first = signed<B>(b.first(at, g, fifteen), bias);
    store8(out, first, t0, t1, b.offset, scale, offset);
    store8(out + near, first, t2, t3, b.offset, scale, offset);
    if (b.split) {
      scale = f32x4.mul(v128.load32_splat(table, 4), unit);
      if (b.offset) offset = v128.load32_splat(table + offsetsAt<B>(), 4);
    }
    const last = signed<B>(b.last(at, g, fifteen), bias);
    store8(out + far, last, t0, t1, b.offset, scale, offset);
    store8(out + far + near, last, t2, t3, b.offset, scale, offset);
  }
}

/** See build/formats.as.ts. */
export function widenRow<B>(base: usize, element: usize, count: i32, out: usize, scratch: usize): void {
  widenGroups<B>(base, element, 32, count >> 5, out, 32, 64, 128, scratch);
}

/** See build/formats.as.ts. */
export function widenLines<B>(
  base: usize, element: usize, stride: usize, lines: i32, out: usize, near: usize, far: usize, step: usize, scratch: usize,
): void {
  widenGroups<B>(base, element, stride, lines, out, near, far, step, scratch);
}

/**
 * Rows [n, last) of a block format dotted with one row of a, two at a time: they share the loads of a. The two come
 * from the two halves of the run: the processor prefetches them as two streams, which fails for neighbouring rows (q8_0:
 * half the speed). With an offset m, Σ (d·q + m)·a = d · Σ q·a + m · Σ a, the last sum made once for all rows.
 */
export function dotRows<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  if (ASC_FEATURE_RELAXED_SIMD && b.digits) return dotDigits<B>(a, w, c, n, last, K, alpha, accumulate, scratch);
  const t0 = pinned(laneTops(0), scratch);
  const t1 = pinned(laneTops(1), scratch);
  const t2 = pinned(laneTops(2), scratch);
  const t3 = pinned(laneTops(3), scratch);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const bias = pinned(i8x16.splat(b.bias), scratch);
  const bytes = b.bytes;
  const row = (<usize>K >> 5) / b.groups * bytes;
  if (b.offset) groupSums(a, K, b.split ? 64 : 128, scratch + 2 * TABLE);
  const half = (last - n + 1) >> 1;
  const middle = n + half;
  for (; n < middle; n++) {
    const paired = n + half < last;
    let p = w + <usize>n * row;
    let q = paired ? p + half * row : p;
    let x = a;
    let sum = scratch + 2 * TABLE;
    let s = f32x4.splat(0), t = s;
    let offsetS: f32 = 0, offsetT: f32 = 0;
    for (const end = p + row; p < end; p += bytes, q += bytes) {
      b.scales(p, scratch);
      b.scales(q, scratch + TABLE);
      let g = 0;
      do {
        s = dotGroup<B>(p, g, x, scratch, s, t0, t1, t2, t3, fifteen, bias);
        t = dotGroup<B>(q, g, x, scratch + TABLE, t, t0, t1, t2, t3, fifteen, bias);
        x += 128;
      } while (b.groups > 1 && ++g < b.groups);
      if (b.offset) {
        for (let i: usize = 0; i < offsetsAt<B>(); i += 4, sum += 4) {
          offsetS += load<f32>(scratch + offsetsAt<B>() + i) * load<f32>(sum);
          offsetT += load<f32>(scratch + TABLE + offsetsAt<B>() + i) * load<f32>(sum);
        }
      }
    }
    putSum(c + (<usize>n << 2), alpha * (hsum(s) * UNIT + offsetS), accumulate);
    if (paired) putSum(c + (<usize>(n + half) << 2), alpha * (hsum(t) * UNIT + offsetT), accumulate);
  }
}

/** s + four partial sums of group g of the block at `at`, whose scales are in `table`, dotted with a at x. */
// @ts-ignore: decorator
@inline
function dotGroup<B>(
  at: usize, g: i32, x: usize, table: usize, s: v128,
  t0: v128, t1: v128, t2: v128, t3: v128, fifteen: v128, bias: v128,
): v128 {
  const b = changetype<B>(0);
  const own = scaleAt<B>(table, g);
  const first = signed<B>(b.first(at, g, fifteen), bias);
  let sum = f32x4.mul(v128.load(x), bytesToF32(first, t0));
  sum = madd(v128.load(x, 16), bytesToF32(first, t1), sum);
  sum = madd(v128.load(x, 32), bytesToF32(first, t2), sum);
  sum = madd(v128.load(x, 48), bytesToF32(first, t3), sum);
  const last = signed<B>(b.last(at, g, fifteen), bias);
  if (b.split) {
    s = madd(sum, v128.load32_splat(own), s);
    sum = f32x4.mul(v128.load(x, 64), bytesToF32(last, t0));
  } else sum = madd(v128.load(x, 64), bytesToF32(last, t0), sum);
  sum = madd(v128.load(x, 80), bytesToF32(last, t1), sum);
  sum = madd(v128.load(x, 96), bytesToF32(last, t2), sum);
  sum = madd(v128.load(x, 112), bytesToF32(last, t3), sum);
  const scale = b.split ? own + 4 : own;
  return madd(sum, v128.load32_splat(scale), s);
}

/** out[i] = Σ of the `bytes` bytes i of a. */
function groupSums(a: usize, K: i32, bytes: usize, out: usize): void {
  for (const end = a + (<usize>K << 2); a < end; a += bytes, out += 4) {
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) sum = f32x4.add(sum, v128.load(a + i));
    store<f32>(out, hsum(sum));
  }
}
