/** Addition on the CPU: units of 1024 elements. */
import { unitBytes } from "../shared/elementwise.as";
import { madd } from "../shared/simd.as";

export function add(
  a: usize, b: usize, y: usize,
  N: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 16 <= to; at += 16) v128.store(y + at, f32x4.add(v128.load(a + at), v128.load(b + at)));
  for (; at < to; at += 4) store<f32>(y + at, load<f32>(a + at) + load<f32>(b + at));
}

export function accumulate(
  x: usize, y: usize,
  N: i32, alpha: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const alpha4 = f32x4.splat(alpha);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 16 <= to; at += 16) v128.store(y + at, madd(v128.load(x + at), alpha4, v128.load(y + at)));
  for (; at < to; at += 4) store<f32>(y + at, load<f32>(y + at) + alpha * load<f32>(x + at));
}
