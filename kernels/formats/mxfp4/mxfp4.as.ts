/** mxfp4 on the CPU. */
import { swizzled } from "../../shared/simd.as";

const VALUES = memory.data<i8>([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], 16);

/** Twice what 16 nibbles stand for; `scale` is half the block's. */
// @ts-ignore: decorator
@inline
function values(nibbles: v128): v128 {
  return swizzled(v128.load(VALUES), nibbles);
}

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 17; }
  @inline get groups(): i32 { return 1; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return false; }
  @inline get bias(): i8 { return 0; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return values(v128.and(v128.load(at, 1), fifteen)); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return values(v128.and(i32x4.shr_u(v128.load(at, 1), 4), fifteen)); }
  @inline scales(at: usize, out: usize): void {
    const e = <u32>load<u8>(at);
    store<u32>(out, e < 2 ? 0x00200000 << e : (e - 1) << 23);
  }
}
