/**
 * Soft caps and their gradient on the CPU: units of 1024 elements, two vectors side by side, which some engines make one of
 * (shared/wide.as.ts). A tail goes through the same code.
 */
import { unitBytes } from "../shared/elementwise.as";
import { softCap4, softCapSlope4 } from "../shared/simd.as";

export function soft_cap(x: usize, y: usize, N: i32, cap: f32, begin: i32, end: i32, scratch: usize): void {
  const cap4 = f32x4.splat(cap);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 32 <= to; at += 32) {
    const y0 = softCap4(v128.load(x + at), cap4), y1 = softCap4(v128.load(x + at, 16), cap4);
    v128.store(y + at, y0);
    v128.store(y + at, y1, 16);
  }
  for (; at < to; at += 4) store<f32>(y + at, f32x4.extract_lane(softCap4(v128.load32_zero(x + at), cap4), 0));
}

export function soft_cap_backward(
  dy: usize, y: usize, dx: usize, N: i32, cap: f32, begin: i32, end: i32, scratch: usize,
): void {
  const cap4 = f32x4.splat(cap);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 32 <= to; at += 32) {
    const dx0 = f32x4.mul(v128.load(dy + at), softCapSlope4(v128.load(y + at), cap4));
    const dx1 = f32x4.mul(v128.load(dy + at, 16), softCapSlope4(v128.load(y + at, 16), cap4));
    v128.store(dx + at, dx0);
    v128.store(dx + at, dx1, 16);
  }
  for (; at < to; at += 4) {
    const slope = f32x4.extract_lane(softCapSlope4(v128.load32_zero(y + at), cap4), 0);
    store<f32>(dx + at, load<f32>(dy + at) * slope);
  }
}
