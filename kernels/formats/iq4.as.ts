/** The values of iq4_nl and iq4_xs. */
import { swizzled } from "../shared/simd.as";

const VALUES = memory.data<i8>([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], 16);

/** What 16 nibbles stand for. */
// @ts-ignore: decorator
@inline
export function iq4Values(nibbles: v128): v128 {
  return swizzled(v128.load(VALUES), nibbles);
}
