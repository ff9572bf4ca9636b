/** Embedding gather on the CPU: tokens [begin, end). */
import { widenRow } from "../build/formats.as";

export function embedding(
  ids: usize, w: usize, y: usize,
  T: i32, V: i32, D: i32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  for (let t = begin; t < end; t++) {
    const id = load<i32>(ids + (<usize>t << 2));
    const out = y + (<usize>t * D << 2);
    if (id >= 0 && id < V) widenRow(format, w, <usize>id * D, D, out);
    else for (let d: usize = 0; d < <usize>D; d++) store<f32>(out + (d << 2), NaN);
  }
}
