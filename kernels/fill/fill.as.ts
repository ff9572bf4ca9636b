/** One value everywhere, on the CPU: units of 1024 elements. */
import { unitBytes } from "../shared/elementwise.as";

export function fill(
  y: usize,
  N: i32, value: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const value4 = f32x4.splat(value);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 16 <= to; at += 16) v128.store(y + at, value4);
  for (; at < to; at += 4) store<f32>(y + at, value);
}
