/**
 * Products with a handful of rows on one side, as dot products along both operands: nothing is packed. With few rows
 * of a (decoding) every weight is read once and widened in registers, or multiplied as it is (formats/); with few
 * rows of w (a LoRA of small rank) a streams through instead.
 */
import { F32, dotRows, widenRow } from "../build/formats.as";
import { WIDEN_SCRATCH } from "../formats/widen.both";
import { madd, putSum } from "../shared/simd.as";
import { DOT_ROWS } from "./tiles.both";

/** c[M, N] (+)= alpha · a · wᵀ for M ≤ 4: units are runs of rows of w. Out: forms.as.ts. */
export function fewRowsOfA<Out>(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const accumulate = changetype<Out>(0).accumulate;
  const last = min(end * DOT_ROWS, N);
  let n = begin * DOT_ROWS;
  if (M == 1) return dotRows(format, a, w, c, n, last, K, alpha, accumulate, scratch);
  const row = <usize>K << 2;
  for (; n < last; n += 2) {
    const count = min(2, last - n);
    let x = w + <usize>n * row;
    if (format != F32) {
      x = scratch + WIDEN_SCRATCH;
      widenRow(format, w, <usize>n * K, count * K, x, scratch);
    }
    dot2x4(x, count, a, M, K, c + (<usize>n << 2), 4, <usize>N << 2, alpha, accumulate);
  }
}

/** The same for N ≤ 4: units are runs of rows of a. */
export function fewRowsOfW<Out>(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const accumulate = changetype<Out>(0).accumulate;
  const row = <usize>K << 2;
  if (format != F32) {
    const rows = scratch + WIDEN_SCRATCH;
    widenRow(format, w, 0, N * K, rows, scratch);
    w = rows;
  }
  const last = min(end * DOT_ROWS, M);
  for (let m = begin * DOT_ROWS; m < last; m += 2) {
    const to = c + (<usize>m * N << 2);
    dot2x4(a + <usize>m * row, min(2, last - m), w, N, K, to, <usize>N << 2, 4, alpha, accumulate);
  }
}

/**
 * `countX` ≤ 2 rows at x dotted with `countY` ≤ 4 rows at y, all K long; result (i, j) goes to c + i · stepX + j · stepY.
 * Missing rows repeat the last one.
 */
function dot2x4(
  x: usize, countX: i32, y: usize, countY: i32, K: i32,
  c: usize, stepX: usize, stepY: usize, alpha: f32, accumulate: boolean,
): void {
  const row = <usize>K << 2;
  let x0 = x;
  let x1 = x + row * (countX - 1);
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
  putSum(at, f32x4.extract_lane(v, 0), accumulate);
  if (count > 1) putSum(at + step, f32x4.extract_lane(v, 1), accumulate);
  if (count > 2) putSum(at + 2 * step, f32x4.extract_lane(v, 2), accumulate);
  if (count > 3) putSum(at + 3 * step, f32x4.extract_lane(v, 3), accumulate);
}

/** The horizontal sums of four vectors. */
// @ts-ignore: decorator
@inline
function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
}
