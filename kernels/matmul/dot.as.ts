/**
 * c[M, N] (+)= alpha · a · wᵀ for a handful of rows (decoding): every weight is read once, widened in registers and
 * multiplied at once, so that the weight's bytes, not the arithmetic, set the pace. A unit is UNIT rows of w.
 */
import { hsum, madd } from "../shared/simd.as";
import {
  BF16, F16, F32, Q4_0, Q4_1,
  blockBytes, blockScale, bytesToF32, highNibbles, loadBF16x4, loadF16, loadF16x4, lowNibbles, widen_row,
} from "../shared/weight_formats.as";

/** Rows of w in a unit (tiles.ts: DOT_ROWS). */
const UNIT = 32;
/** Elements of a row that are widened at a time when several rows of a share them. */
const SPAN = 512;

export function dotRows(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, accumulate: boolean, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  if (M == 1 && format == Q4_1) blockSums(a, K, scratch);
  const last = min(end * UNIT, N);
  for (let n = begin * UNIT; n < last; n++) {
    const at = c + (<usize>n << 2);
    if (M == 1) put(at, alpha * dot1(a, w, <usize>n * K, K, format, scratch), accumulate);
    else if (M <= 4) dot4(a, w, at, n, M, N, K, alpha, accumulate, format, scratch);
  }
}

// @ts-ignore: decorator
@inline
function put(at: usize, value: f32, accumulate: boolean): void {
  store<f32>(at, accumulate ? load<f32>(at) + value : value);
}

/** One row of w, K elements from `element`, dotted with one row of a. */
function dot1(a: usize, w: usize, element: usize, K: i32, format: i32, sums: usize): f32 {
  if (format >= Q4_0) {
    const at = w + (element >> 5) * blockBytes(format);
    if (format == Q4_0) return dotQ4_0(a, at, K >> 5);
    if (format == Q4_1) return dotQ4_1(a, at, K >> 5, sums);
    return dotQ8_0(a, at, K >> 5);
  }
  const vec = a + (<usize>(K & ~15) << 2);
  const end = a + (<usize>K << 2);
  let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
  let tail: f32 = 0;
  if (format == F32) {
    let at = w + (element << 2);
    for (; a < vec; a += 64, at += 64) {
      s0 = madd(v128.load(a), v128.load(at), s0);
      s1 = madd(v128.load(a, 16), v128.load(at, 16), s1);
      s2 = madd(v128.load(a, 32), v128.load(at, 32), s2);
      s3 = madd(v128.load(a, 48), v128.load(at, 48), s3);
    }
    for (; a < end; a += 4, at += 4) tail += load<f32>(a) * load<f32>(at);
  } else if (format == F16) {
    let at = w + (element << 1);
    for (; a < vec; a += 64, at += 32) {
      s0 = madd(v128.load(a), loadF16x4(at), s0);
      s1 = madd(v128.load(a, 16), loadF16x4(at + 8), s1);
      s2 = madd(v128.load(a, 32), loadF16x4(at + 16), s2);
      s3 = madd(v128.load(a, 48), loadF16x4(at + 24), s3);
    }
    for (; a < end; a += 4, at += 2) tail += load<f32>(a) * loadF16(at);
  } else {
    let at = w + (element << 1);
    for (; a < vec; a += 64, at += 32) {
      s0 = madd(v128.load(a), loadBF16x4(at), s0);
      s1 = madd(v128.load(a, 16), loadBF16x4(at + 8), s1);
      s2 = madd(v128.load(a, 32), loadBF16x4(at + 16), s2);
      s3 = madd(v128.load(a, 48), loadBF16x4(at + 24), s3);
    }
    for (; a < end; a += 4, at += 2) tail += load<f32>(a) * reinterpret<f32>(<u32>load<u16>(at) << 16);
  }
  return tail + hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** 16 bytes of a block against 16 floats. */
// @ts-ignore: decorator
@inline
function dot16(a: usize, q: v128, sum: v128): v128 {
  sum = madd(v128.load(a), bytesToF32(q, 0), sum);
  sum = madd(v128.load(a, 16), bytesToF32(q, 1), sum);
  sum = madd(v128.load(a, 32), bytesToF32(q, 2), sum);
  return madd(v128.load(a, 48), bytesToF32(q, 3), sum);
}

function dotQ4_0(a: usize, at: usize, blocks: i32): f32 {
  const zero = f32x4.splat(0);
  const eight = i8x16.splat(8);
  let sum = zero;
  for (const end = at + <usize>blocks * 18; at < end; at += 18, a += 128) {
    const q = v128.load(at, 2);
    const low = dot16(a, i8x16.sub(lowNibbles(q), eight), zero);
    const high = dot16(a + 64, i8x16.sub(highNibbles(q), eight), zero);
    sum = madd(f32x4.add(low, high), f32x4.splat(blockScale(at)), sum);
  }
  return hsum(sum);
}

/** Σ (d·q + m)·a = d · Σ q·a + m · Σ a, the last sum from `sums`. */
function dotQ4_1(a: usize, at: usize, blocks: i32, sums: usize): f32 {
  const zero = f32x4.splat(0);
  let sum = zero;
  let offsets: f32 = 0;
  for (const end = at + <usize>blocks * 20; at < end; at += 20, a += 128, sums += 4) {
    const q = v128.load(at, 4);
    const low = dot16(a, lowNibbles(q), zero);
    const high = dot16(a + 64, highNibbles(q), zero);
    sum = madd(f32x4.add(low, high), f32x4.splat(blockScale(at)), sum);
    offsets += loadF16(at + 2) * load<f32>(sums);
  }
  return hsum(sum) + offsets;
}

function dotQ8_0(a: usize, at: usize, blocks: i32): f32 {
  const zero = f32x4.splat(0);
  let sum = zero;
  for (const end = at + <usize>blocks * 34; at < end; at += 34, a += 128) {
    const low = dot16(a, v128.load(at, 2), zero);
    const high = dot16(a + 64, v128.load(at, 18), zero);
    sum = madd(f32x4.add(low, high), f32x4.splat(blockScale(at)), sum);
  }
  return hsum(sum);
}

/** out[b] = Σ of block b of a. */
function blockSums(a: usize, K: i32, out: usize): void {
  for (const end = a + (<usize>K << 2); a < end; a += 128, out += 4) {
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 16) sum = f32x4.add(sum, v128.load(a + i));
    store<f32>(out, hsum(sum));
  }
}

/** Column n of c for M ≤ 4 rows of a; they share each widened span of the weight's row. */
function dot4(
  a: usize, w: usize, c: usize, n: i32, M: i32, N: i32, K: i32,
  alpha: f32, accumulate: boolean, format: i32, scratch: usize,
): void {
  let total = f32x4.splat(0);
  for (let k0 = 0; k0 < K; k0 += SPAN) {
    const count = min(SPAN, K - k0);
    const element = <usize>n * K + k0;
    let x = w + (element << 2);
    if (format != F32) {
      x = scratch;
      widen_row(format, w, element, count, x);
    }
    for (let m = 0; m < M; m++) {
      const sum = dot1(a + (<usize>m * K + k0 << 2), x, 0, count, F32, 0);
      total = f32x4.add(total, v128.and(f32x4.splat(sum), lane(m)));
    }
  }
  for (let m = 0; m < M; m++) {
    const value = hsum(v128.and(total, lane(m)));
    put(c + (<usize>m * N << 2), alpha * value, accumulate);
  }
}

/** All bits of lane m. */
// @ts-ignore: decorator
@inline
function lane(m: i32): v128 {
  return i32x4.eq(i32x4.splat(m), i32x4(0, 1, 2, 3));
}
