/**
 * Formats that store blocks of 32 elements as signed bytes of at most 8 bits (or parts of bytes) and a binary16 scale that
 * comes first; with an offset, a second binary16 after it. A format describes its blocks by a class B without fields, whose
 * methods are compiled into each place where they are called:
 *   bytes    how many a block takes
 *   offset   whether there is one
 *   first    elements 0–15 of the block at `at` as signed bytes; `fifteen` and `eight` are these numbers in all lanes
 *   last     elements 16–31
 * Values are exact but for the one rounding of scale · byte + offset.
 */
import { loadF16 } from "../shared/float16.as";
import { hsum, madd, pinned, putSum } from "../shared/simd.as";

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

/** A block's scale for values from `bytesToF32`. */
// @ts-ignore: decorator
@inline
function blockScale(at: usize): f32 {
  return loadF16(at) * <f32>(1.0 / 16777216.0);
}

/**
 * Widens `blocks` blocks, `stride` bytes apart. Each gives four groups of eight floats: two `near` bytes apart, `far` bytes
 * on two more. Those of the next block follow `step` bytes after.
 */
function widenBlocks<B>(
  at: usize, stride: usize, blocks: i32, out: usize, near: usize, far: usize, step: usize,
): void {
  const b = changetype<B>(0);
  // `out` is overwritten by the result.
  const t0 = pinned(laneTops(0), out);
  const t1 = pinned(laneTops(1), out);
  const t2 = pinned(laneTops(2), out);
  const t3 = pinned(laneTops(3), out);
  const fifteen = pinned(i8x16.splat(15), out);
  const eight = pinned(i8x16.splat(8), out);
  for (; blocks > 0; blocks--, out += step, at += stride) {
    const scale = f32x4.splat(blockScale(at));
    const offset = b.offset ? f32x4.splat(loadF16(at + 2)) : f32x4.splat(0);
    const first = b.first(at, fifteen, eight);
    store8(out, first, t0, t1, b.offset, scale, offset);
    store8(out + near, first, t2, t3, b.offset, scale, offset);
    const last = b.last(at, fifteen, eight);
    store8(out + far, last, t0, t1, b.offset, scale, offset);
    store8(out + far + near, last, t2, t3, b.offset, scale, offset);
  }
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

/** widenRow of a format. */
export function widenBlockRow<B>(base: usize, element: usize, count: i32, out: usize): void {
  const bytes = changetype<B>(0).bytes;
  widenBlocks<B>(base + (element >> 5) * bytes, bytes, count >> 5, out, 32, 64, 128);
}

/** widenLines of a format. */
export function widenBlockLines<B>(
  base: usize, element: usize, stride: usize, lines: i32, out: usize, near: usize, far: usize, step: usize,
): void {
  const bytes = changetype<B>(0).bytes;
  widenBlocks<B>(base + (element >> 5) * bytes, (stride >> 5) * bytes, lines, out, near, far, step);
}

/**
 * Rows [n, last) of a block format dotted with one row of a, two at a time: they share the loads of a. The two come
 * from the two halves of the run: the processor prefetches them as two streams, which fails for neighbouring rows (q8_0:
 * half the speed). With an offset m, Σ (d·q + m)·a = d · Σ q·a + m · Σ a, the last sum made once for all rows.
 */
// @ts-ignore: decorator
@inline
export function dotBlocks<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  const t0 = pinned(laneTops(0), scratch);
  const t1 = pinned(laneTops(1), scratch);
  const t2 = pinned(laneTops(2), scratch);
  const t3 = pinned(laneTops(3), scratch);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const eight = pinned(i8x16.splat(8), scratch);
  const bytes = b.bytes;
  const row = (<usize>K >> 5) * bytes;
  if (b.offset) blockSums(a, K, scratch);
  const half = (last - n + 1) >> 1;
  const middle = n + half;
  for (; n < middle; n++) {
    const paired = n + half < last;
    let p = w + <usize>n * row;
    let q = paired ? p + half * row : p;
    let x = a;
    let sum = scratch;
    let s = f32x4.splat(0), t = s;
    let offsetS: f32 = 0, offsetT: f32 = 0;
    for (const end = p + row; p < end; p += bytes, q += bytes, x += 128) {
      let u = b.first(p, fifteen, eight);
      let v = b.first(q, fifteen, eight);
      let y = v128.load(x);
      let su = f32x4.mul(y, bytesToF32(u, t0)), sv = f32x4.mul(y, bytesToF32(v, t0));
      y = v128.load(x, 16);
      su = madd(y, bytesToF32(u, t1), su), sv = madd(y, bytesToF32(v, t1), sv);
      y = v128.load(x, 32);
      su = madd(y, bytesToF32(u, t2), su), sv = madd(y, bytesToF32(v, t2), sv);
      y = v128.load(x, 48);
      su = madd(y, bytesToF32(u, t3), su), sv = madd(y, bytesToF32(v, t3), sv);
      u = b.last(p, fifteen, eight);
      v = b.last(q, fifteen, eight);
      y = v128.load(x, 64);
      su = madd(y, bytesToF32(u, t0), su), sv = madd(y, bytesToF32(v, t0), sv);
      y = v128.load(x, 80);
      su = madd(y, bytesToF32(u, t1), su), sv = madd(y, bytesToF32(v, t1), sv);
      y = v128.load(x, 96);
      su = madd(y, bytesToF32(u, t2), su), sv = madd(y, bytesToF32(v, t2), sv);
      y = v128.load(x, 112);
      su = madd(y, bytesToF32(u, t3), su), sv = madd(y, bytesToF32(v, t3), sv);
      s = madd(su, f32x4.splat(blockScale(p)), s);
      t = madd(sv, f32x4.splat(blockScale(q)), t);
      if (b.offset) {
        const total = load<f32>(sum);
        offsetS += loadF16(p + 2) * total;
        offsetT += loadF16(q + 2) * total;
        sum += 4;
      }
    }
    putSum(c + (<usize>n << 2), alpha * (hsum(s) + offsetS), accumulate);
    if (paired) putSum(c + (<usize>(n + half) << 2), alpha * (hsum(t) + offsetT), accumulate);
  }
}

/** out[b] = Σ of block b of a. */
function blockSums(a: usize, K: i32, out: usize): void {
  for (const end = a + (<usize>K << 2); a < end; a += 128, out += 4) {
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 16) sum = f32x4.add(sum, v128.load(a + i));
    store<f32>(out, hsum(sum));
  }
}
