/** Embedding gather on the CPU: tokens [begin, end). */
import { widenRow } from "../build/formats.as";

export function embedding(
  ids: usize, w: usize, y: usize,
  T: i32, V: i32, D: i32, scale: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  for (let t = begin; t < end; t++) {
    const id = load<i32>(ids + (<usize>t << 2));
    const out = y + (<usize>t * D << 2);
    if (id >= 0 && id < V) {
      widenRow(format, w, <usize>id * D, D, out, scratch);
      if (scale != 1) multiply(out, D, scale);
    } else for (let d: usize = 0; d < <usize>D; d++) store<f32>(out + (d << 2), NaN);
  }
}

/** `count` elements at `at`, times `factor`. */
function multiply(at: usize, count: i32, factor: f32): void {
  const factor4 = f32x4.splat(factor);
  const end = at + (<usize>count << 2);
  for (; at + 16 <= end; at += 16) v128.store(at, f32x4.mul(v128.load(at), factor4));
  for (; at < end; at += 4) store<f32>(at, load<f32>(at) * factor);
}
