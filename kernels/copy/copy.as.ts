/** A run of elements from one buffer into another, on the CPU: units of 1024 elements. */
import { unitBytes } from "../shared/elementwise.as";

export function copy(
  x: usize, y: usize,
  N: i32, M: i32, from: u32, to: u32, count: u32,
  begin: i32, end: i32, scratch: usize,
): void {
  const first = unitBytes(begin, <i32>count);
  const bytes = unitBytes(end, <i32>count) - first;
  memory.copy(y + (<usize>to << 2) + first, x + (<usize>from << 2) + first, bytes);
}
