/** Repetition penalty and bans on the CPU: units of 1024 ids; the ids differ, so no two units meet. */
import { unitBytes } from "../shared/elementwise.as";

export function penalize(
  ids: usize, factors: usize, logits: usize,
  N: i32, V: i32, count: u32,
  begin: i32, end: i32, scratch: usize,
): void {
  const to = unitBytes(end, <i32>count);
  for (let at = unitBytes(begin, <i32>count); at < to; at += 4) {
    const id = load<u32>(ids + at);
    if (id >= <u32>V) continue; // a negative one is a large one
    const f = load<f32>(factors + at);
    const where = logits + (<usize>id << 2);
    const l = load<f32>(where);
    store<f32>(where, f == 0 ? <f32>-1e30 : l > 0 ? l / f : l * f);
  }
}
