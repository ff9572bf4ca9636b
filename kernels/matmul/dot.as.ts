/**
 * Products with a handful of rows on one side, as dot products along both operands: nothing is packed. With few rows
 * of a (decoding) every weight is read once and widened in registers, or multiplied as it is (digits.as.ts); with few
 * rows of w (a LoRA of small rank) a streams through instead.
 */
import { dotDigits } from "./digits.as";
import { hsum, madd } from "../shared/simd.as";
import {
  F16, F16_BITS, F16_REBIAS, F32, Q4_0, Q4_1, Q8_0,
  blockBytes, blockScale, bytesToF32, firstBytes, laneTops, lastBytes, loadBF16x4, loadF16, loadF16x4, pinned, widen_row,
} from "../shared/weight_formats.as";
import { DOT_ROWS } from "./tiles.both";

/** c[M, N] (+)= alpha · a · wᵀ for M ≤ 4: units are runs of rows of w. */
export function fewRowsOfA(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, accumulate: boolean, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const last = min(end * DOT_ROWS, N);
  let n = begin * DOT_ROWS;
  if (M == 1) {
    if (ASC_FEATURE_RELAXED_SIMD && format == Q4_1) dotDigits(Q4_1, a, w, c, n, last, K, alpha, accumulate, scratch);
    else if (ASC_FEATURE_RELAXED_SIMD && format == Q4_0) dotDigits(Q4_0, a, w, c, n, last, K, alpha, accumulate, scratch);
    else if (format == Q4_0) dotBlocks(Q4_0, a, w, c, n, last, K, alpha, accumulate, scratch);
    else if (format == Q4_1) dotBlocks(Q4_1, a, w, c, n, last, K, alpha, accumulate, scratch);
    else if (format == Q8_0) dotBlocks(Q8_0, a, w, c, n, last, K, alpha, accumulate, scratch);
    else for (; n < last; n++) put(c + (<usize>n << 2), alpha * dot(a, w, <usize>n * K, K, format, scratch), accumulate);
    return;
  }
  const row = <usize>K << 2;
  for (; n < last; n += 2) {
    const second = min(n + 1, last - 1);
    let x0 = w + <usize>n * row;
    let x1 = w + <usize>second * row;
    if (format != F32) {
      x0 = scratch;
      x1 = scratch + row;
      widen_row(format, w, <usize>n * K, K, x0);
      widen_row(format, w, <usize>second * K, K, x1);
    }
    const to = c + (<usize>n << 2);
    dot2x4(x0, x1, a, row, M, K, to, 4, <usize>N << 2, 1 + second - n, alpha, accumulate);
  }
}

/** The same for N ≤ 4: units are runs of rows of a. */
export function fewRowsOfW(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, accumulate: boolean, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const row = <usize>K << 2;
  if (format != F32) {
    widen_row(format, w, 0, N * K, scratch);
    w = scratch;
  }
  const last = min(end * DOT_ROWS, M);
  for (let m = begin * DOT_ROWS; m < last; m += 2) {
    const second = min(m + 1, last - 1);
    const to = c + (<usize>m * N << 2);
    dot2x4(a + <usize>m * row, a + <usize>second * row, w, row, N, K, to, <usize>N << 2, 4, 1 + second - m, alpha, accumulate);
  }
}

// @ts-ignore: decorator
@inline
function put(at: usize, value: f32, accumulate: boolean): void {
  store<f32>(at, accumulate ? load<f32>(at) + value : value);
}

/**
 * Rows x0 and x1 dotted with up to four rows of y; result (i, j) goes to c + i · stepX + j · stepY, for i < countX.
 * Missing rows repeat the last one.
 */
function dot2x4(
  x0: usize, x1: usize, y: usize, row: usize, countY: i32, K: i32,
  c: usize, stepX: usize, stepY: usize, countX: i32, alpha: f32, accumulate: boolean,
): void {
  let y0 = y;
  let y1 = y + row * min(1, countY - 1);
  let y2 = y + row * min(2, countY - 1);
  let y3 = y + row * min(3, countY - 1);
  let s00 = f32x4.splat(0), s01 = s00, s02 = s00, s03 = s00;
  let s10 = s00, s11 = s00, s12 = s00, s13 = s00;
  const end = x0 + row;
  const vec = x0 + (<usize>(K & ~3) << 2);
  while (x0 < vec) {
    const u = v128.load(x0);
    const v = v128.load(x1);
    const w0 = v128.load(y0);
    s00 = madd(u, w0, s00);
    s10 = madd(v, w0, s10);
    const w1 = v128.load(y1);
    s01 = madd(u, w1, s01);
    s11 = madd(v, w1, s11);
    const w2 = v128.load(y2);
    s02 = madd(u, w2, s02);
    s12 = madd(v, w2, s12);
    const w3 = v128.load(y3);
    s03 = madd(u, w3, s03);
    s13 = madd(v, w3, s13);
    x0 += 16;
    x1 += 16;
    y0 += 16;
    y1 += 16;
    y2 += 16;
    y3 += 16;
  }
  let t0 = sums(s00, s01, s02, s03);
  let t1 = sums(s10, s11, s12, s13);
  for (; x0 < end; x0 += 4, x1 += 4, y0 += 4, y1 += 4, y2 += 4, y3 += 4) {
    const tail = f32x4(load<f32>(y0), load<f32>(y1), load<f32>(y2), load<f32>(y3));
    t0 = madd(v128.load32_splat(x0), tail, t0);
    t1 = madd(v128.load32_splat(x1), tail, t1);
  }
  const scale = f32x4.splat(alpha);
  putLanes(c, f32x4.mul(t0, scale), stepY, countY, accumulate);
  if (countX > 1) putLanes(c + stepX, f32x4.mul(t1, scale), stepY, countY, accumulate);
}

function putLanes(at: usize, v: v128, step: usize, count: i32, accumulate: boolean): void {
  put(at, f32x4.extract_lane(v, 0), accumulate);
  if (count > 1) put(at + step, f32x4.extract_lane(v, 1), accumulate);
  if (count > 2) put(at + 2 * step, f32x4.extract_lane(v, 2), accumulate);
  if (count > 3) put(at + 3 * step, f32x4.extract_lane(v, 3), accumulate);
}

/** The horizontal sums of four vectors. */
// @ts-ignore: decorator
@inline
function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
}

/** Elements [element, element + K) of w, not in blocks, dotted with a. */
function dot(a: usize, w: usize, element: usize, K: i32, format: i32, scratch: usize): f32 {
  const vec = a + (<usize>(K & ~15) << 2);
  const end = a + (<usize>K << 2);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
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
    const bits = pinned(i32x4.splat(F16_BITS), scratch);
    const rebias = pinned(f32x4.splat(F16_REBIAS), scratch);
    let at = w + (element << 1);
    for (; a < vec; a += 64, at += 32) {
      s0 = madd(v128.load(a), loadF16x4(at, bits, rebias), s0);
      s1 = madd(v128.load(a, 16), loadF16x4(at + 8, bits, rebias), s1);
      s2 = madd(v128.load(a, 32), loadF16x4(at + 16, bits, rebias), s2);
      s3 = madd(v128.load(a, 48), loadF16x4(at + 24, bits, rebias), s3);
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

/**
 * Rows [n, last) of a block format dotted with one row of a, two at a time: they share the loads of a. The two come
 * from the two halves of the run, which the processor's prefetching takes for two streams; of neighbours it loses track
 * (q8_0: half the speed). q4_1 takes Σ (d·q + m)·a = d · Σ q·a + m · Σ a, the last sum made once for all rows.
 */
// @ts-ignore: decorator
@inline
function dotBlocks(
  format: i32, a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const t0 = pinned(laneTops(0), scratch);
  const t1 = pinned(laneTops(1), scratch);
  const t2 = pinned(laneTops(2), scratch);
  const t3 = pinned(laneTops(3), scratch);
  const fifteen = pinned(i8x16.splat(15), scratch);
  const eight = pinned(i8x16.splat(8), scratch);
  const bytes = blockBytes(format);
  const row = (<usize>K >> 5) * bytes;
  if (format == Q4_1) blockSums(a, K, scratch);
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
      let u = firstBytes(format, p, fifteen, eight);
      let v = firstBytes(format, q, fifteen, eight);
      let y = v128.load(x);
      let su = f32x4.mul(y, bytesToF32(u, t0)), sv = f32x4.mul(y, bytesToF32(v, t0));
      y = v128.load(x, 16);
      su = madd(y, bytesToF32(u, t1), su), sv = madd(y, bytesToF32(v, t1), sv);
      y = v128.load(x, 32);
      su = madd(y, bytesToF32(u, t2), su), sv = madd(y, bytesToF32(v, t2), sv);
      y = v128.load(x, 48);
      su = madd(y, bytesToF32(u, t3), su), sv = madd(y, bytesToF32(v, t3), sv);
      u = lastBytes(format, p, fifteen, eight);
      v = lastBytes(format, q, fifteen, eight);
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
      if (format == Q4_1) {
        const total = load<f32>(sum);
        offsetS += loadF16(p + 2) * total;
        offsetT += loadF16(q + 2) * total;
        sum += 4;
      }
    }
    put(c + (<usize>n << 2), alpha * (hsum(s) + offsetS), accumulate);
    if (paired) put(c + (<usize>(n + half) << 2), alpha * (hsum(t) + offsetT), accumulate);
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
