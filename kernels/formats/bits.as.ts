/** Bits of quantised elements that lie apart from the others. */
import { swizzled } from "../shared/simd.as";

// Loaded from memory, since V8 would make such a constant anew, in four instructions, wherever it is used.
/** A swizzle that gives eight lanes the first byte and eight the second, … */
const SPREAD = memory.data<i8>([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], 16);
/** … of which each lane has a bit of its own. */
const OWN = memory.data<i8>([1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128], 16);

// In all lanes.
export const THREE = memory.data<i8>([3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3], 16);
export const FOUR = memory.data<i8>([4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4], 16);
export const FIFTEEN = memory.data<i8>([15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15], 16);
export const SIXTEEN = memory.data<i8>([16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16], 16);
export const FORTY_EIGHT = memory.data<i8>([48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48], 16);

/** Lanes of four bits and 16 more where the lane's bit of the 16 bits at `at` is set; `fifteen` is 15 in all lanes. */
// @ts-ignore: decorator
@inline
export function withBit4(fours: v128, at: usize, fifteen: v128): v128 {
  const own = v128.load(OWN);
  const bits = v128.and(swizzled(v128.load16_splat(at), v128.load(SPREAD)), own);
  return i8x16.sub(fours, v128.andnot(i8x16.eq(bits, own), fifteen)); // less −16
}
