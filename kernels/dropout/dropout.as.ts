/** Dropout on the CPU: units of 1024 elements. The random words go to y first and are then replaced. */
import { unitBytes } from "../shared/elementwise.as";
import { threefry2, threefry8 } from "../shared/threefry.as";

// @ts-ignore: decorator
@inline
function masked(words: v128, x: v128, threshold: v128, scale: v128): v128 {
  return v128.and(f32x4.mul(x, scale), i32x4.ge_s(i32x4.shr_u(words, 8), threshold));
}

export function dropout(
  x: usize, y: usize,
  N: i32, seed: u32, stream: u32, step: u32, p: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const limit = <u32>floor<f32>(p * 16777216 + <f32>0.5);
  const factor = <f32>16777216 / <f32>(<u32>16777216 - limit); // 1 − p in f32 would lose digits
  const threshold = i32x4.splat(limit);
  const scale = f32x4.splat(factor);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 32 <= to; at += 32) {
    threefry8(seed, stream, <u32>(at >> 3), step, y + at);
    v128.store(y + at, masked(v128.load(y + at), v128.load(x + at), threshold, scale));
    v128.store(y + at, masked(v128.load(y + at, 16), v128.load(x + at, 16), threshold, scale), 16);
  }
  for (; at < to; at += 8) {
    const words = threefry2(seed, stream, <u32>(at >> 3), step);
    store<f32>(y + at, (<u32>words >> 8) >= limit ? load<f32>(x + at) * factor : 0);
    if (at + 4 < to) store<f32>(y + at, <u32>(words >> 40) >= limit ? load<f32>(x + at, 4) * factor : 0, 4);
  }
}
