/** Addition on the CPU: units of 1024 elements, and rows of add_row. */
import { unitBytes } from "../shared/elementwise.as";
import { madd } from "../shared/simd.as";

export function add(
  a: usize, b: usize, y: usize,
  N: i32, alpha: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const alpha4 = f32x4.splat(alpha);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 16 <= to; at += 16) v128.store(y + at, madd(v128.load(b + at), alpha4, v128.load(a + at)));
  for (; at < to; at += 4) store<f32>(y + at, load<f32>(a + at) + alpha * load<f32>(b + at));
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

/** Rows [begin, end). */
export function add_row(
  x: usize, b: usize, y: usize,
  R: i32, N: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const bytes = <usize>N << 2;
  const vec = bytes & ~15;
  for (let r = begin; r < end; r++) {
    const from = x + <usize>r * bytes;
    const to = y + <usize>r * bytes;
    let at: usize = 0;
    for (; at < vec; at += 16) v128.store(to + at, f32x4.add(v128.load(from + at), v128.load(b + at)));
    for (; at < bytes; at += 4) store<f32>(to + at, load<f32>(from + at) + load<f32>(b + at));
  }
}
