/** Sums on the CPU, in f64. */
import { PARTS } from "./parts.both";

// @ts-ignore: decorator
@inline
function hsum2(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}

/** The last two lanes, moved to the front. */
// @ts-ignore: decorator
@inline
function high(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** y[0] = Σ x; there is one unit. */
export function sum(
  x: usize, y: usize,
  N: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  if (begin >= end) return;
  const stop = x + (<usize>N << 2);
  let at = x;
  let low = f64x2.splat(0);
  let top = low;
  for (; at + 16 <= stop; at += 16) {
    const v = v128.load(at);
    low = f64x2.add(low, f64x2.promote_low_f32x4(v));
    top = f64x2.add(top, f64x2.promote_low_f32x4(high(v)));
  }
  let total = hsum2(f64x2.add(low, top));
  for (; at < stop; at += 4) total += <f64>load<f32>(at);
  store<f32>(y, <f32>total);
}

/** partial[i] = Σ x² over part i, for parts [begin, end) of PARTS. */
export function sum_squares(
  x: usize, partial: usize,
  N: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const run = <i64>((N + PARTS - 1) / PARTS);
  for (let i = begin; i < end; i++) {
    let at = x + (<usize>min<i64>(i * run, N) << 2);
    const stop = x + (<usize>min<i64>((i + 1) * run, N) << 2);
    let low = f64x2.splat(0);
    let top = low;
    for (; at + 16 <= stop; at += 16) {
      const v = v128.load(at);
      const a = f64x2.promote_low_f32x4(v);
      const b = f64x2.promote_low_f32x4(high(v));
      low = f64x2.add(low, f64x2.mul(a, a));
      top = f64x2.add(top, f64x2.mul(b, b));
    }
    let total = hsum2(f64x2.add(low, top));
    for (; at < stop; at += 4) {
      const v = <f64>load<f32>(at);
      total += v * v;
    }
    store<f32>(partial + (<usize>i << 2), <f32>total);
  }
}
