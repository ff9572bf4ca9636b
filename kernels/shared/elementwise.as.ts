/** How the elementwise kernels cut up N elements; the same number stands in shared/elementwise.ts. */

/** Elements of one unit of work. */
// @ts-ignore: decorator
@inline
export const UNIT: i32 = 1024;

/** Byte offset of the first element of unit `unit`, at most that of the end of `count` elements. */
// @ts-ignore: decorator
@inline
export function unitBytes(unit: i32, count: i32): usize {
  const at = <i64>unit * UNIT;
  return <usize>min<i64>(at, count) << 2;
}
