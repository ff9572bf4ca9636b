/** f16, widened on the CPU. */
import { F16_BITS, F16_REBIAS, loadF16, loadF16x4 } from "../../shared/float16.as";
import { pinned } from "../../shared/simd.as";

@unmanaged @final export class Element {
  @inline get bytes(): usize { return 2; }
  @inline bits(at: usize): v128 { return pinned(i32x4.splat(F16_BITS), at); }
  @inline rebias(at: usize): v128 { return pinned(f32x4.splat(F16_REBIAS), at); }
  @inline load4(at: usize, bits: v128, rebias: v128): v128 { return loadF16x4(at, bits, rebias); }
  @inline load1(at: usize): f32 { return loadF16(at); }
}
