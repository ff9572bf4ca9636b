/** How the elementwise kernels cut up N elements. */
import { UNIT } from "./units.both";

/** Byte offset of the first element of unit `unit`, at most that of the end of `count` elements. */
// @ts-ignore: decorator
@inline
export function unitBytes(unit: i32, count: i32): usize {
  const at = <i64>unit * UNIT;
  return <usize>min<i64>(at, count) << 2;
}
