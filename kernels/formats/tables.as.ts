/** Tables of a block's scales and offsets, as a block's class B writes them (blocks.as.ts). */
import { hsum } from "../shared/simd.as";
import { WIDEN_SCRATCH } from "./widen.both";

/** Bytes of a table. */
export const TABLE: usize = WIDEN_SCRATCH;

/** Where group g's first scale is in a table; its first offset is `offsetsAt` behind. */
// @ts-ignore: decorator
@inline
export function scaleAt<B>(table: usize, g: i32): usize {
  return table + (<usize>g << (changetype<B>(0).split ? 3 : 2));
}

// @ts-ignore: decorator
@inline
export function offsetsAt<B>(): usize {
  const b = changetype<B>(0);
  return <usize>b.groups << (b.split ? 3 : 2);
}

/** out[i] = Σ of the elements of half a group or a whole one, whichever has an offset, of the K at a. */
export function groupSums<B>(a: usize, K: i32, out: usize): void {
  const bytes: usize = changetype<B>(0).split ? 64 : 128;
  for (const end = a + (<usize>K << 2); a < end; a += bytes, out += 4) {
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) sum = f32x4.add(sum, v128.load(a + i));
    store<f32>(out, hsum(sum));
  }
}
