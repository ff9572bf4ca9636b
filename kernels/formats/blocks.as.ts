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
 *   halves   whether a block of one group begins with its scale, and then its offset, in binary16
 *   digits   whether stored elements are 0…127, for digits.as.ts
 *   small    the 16 scales as bytes, where there are so many and no offsets
 *   unit     what those are to be multiplied by
 * Values are exact but for the one rounding of scale · byte + offset.
 */
import { pinned, swizzled } from "../shared/simd.as";
import { wide } from "../shared/wide.as";
import { dotDigits } from "./dot_digits.as";
import { dotScaled } from "./dot_scaled.as";
import { dotShorts } from "./dot_shorts.as";
import { offsetsAt, scaleAt } from "./tables.as";

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
  return f32x4.convert_i32x4_s(swizzled(v, tops));
}

/** Stored bytes less their bias, which is in all lanes of `bias`. */
// @ts-ignore: decorator
@inline
function signed<B>(bytes: v128, bias: v128): v128 {
  return changetype<B>(0).bias == 0 ? bytes : i8x16.sub(bytes, bias);
}

/** What divides out the 2^24 of `bytesToF32`. */
const UNIT: f32 = 1.0 / 16777216.0;

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
 * Rows [n, last) of a block format dotted with one row of a, in integers: small ones by bytes where that is faster, with their scales where those
 * are small, too; others by shorts. Where engines pair vectors, the sixteen bytes of a small block's two halves have no neighbours to be paired with.
 */
export function dotRows<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  if (isDefined(b.small)) {
    if (ASC_FEATURE_RELAXED_SIMD && wide) {
      dotScaled<B>(a, w, c, n, last, K, alpha, accumulate, scratch);
      return;
    }
  }
  if (ASC_FEATURE_RELAXED_SIMD && b.digits && (b.groups > 1 || !wide))
    dotDigits<B>(a, w, c, n, last, K, alpha, accumulate, scratch);
  else dotShorts<B>(a, w, c, n, last, K, alpha, accumulate, scratch);
}
