/** Soft caps and their gradient on the CPU: units of 1024 elements. A tail goes through the same code. */
import { unitBytes } from "../shared/elementwise.as";
import { softCap4, softCapSlope4 } from "../shared/simd.as";

export function soft_cap(x: usize, y: usize, N: i32, cap: f32, begin: i32, end: i32, scratch: usize): void {
  const cap4 = f32x4.splat(cap);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 16 <= to; at += 16) v128.store(y + at, softCap4(v128.load(x + at), cap4));
  for (; at < to; at += 4) store<f32>(y + at, f32x4.extract_lane(softCap4(v128.load32_zero(x + at), cap4), 0));
}

export function soft_cap_backward(
  dy: usize, y: usize, dx: usize, N: i32, cap: f32, begin: i32, end: i32, scratch: usize,
): void {
  const cap4 = f32x4.splat(cap);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 16 <= to; at += 16) {
    v128.store(dx + at, f32x4.mul(v128.load(dy + at), softCapSlope4(v128.load(y + at), cap4)));
  }
  for (; at < to; at += 4) {
    const slope = f32x4.extract_lane(softCapSlope4(v128.load32_zero(y + at), cap4), 0);
    store<f32>(dx + at, load<f32>(dy + at) * slope);
  }
}
