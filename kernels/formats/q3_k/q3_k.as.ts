/** q3_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { bits1, bits2 } from "../bits.as";
import { put16 } from "../scales.as";

/** Elements [from, from + 16) of a group: two bits, and a third above them. */
// @ts-ignore: decorator
@inline
function quants(at: usize, g: i32, from: i32): v128 {
  const high = i32x4.shl(bits1(at + from, g), 2);
  return v128.or(bits2(at + 32 + from + 32 * (g >> 2), 2 * (g & 3)), high);
}

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 110; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return true; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 4; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return quants(at, g, 0); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return quants(at, g, 16); }
  @inline scales(at: usize, out: usize): void {
    const eight = load<u64>(at + 96);
    const low = v128.and(i64x2(eight, eight >> 4), i8x16.splat(15));
    const two = load<u32>(at + 104);
    const high = i32x4.shl(v128.and(i32x4(two, two >> 2, two >> 4, two >> 6), i8x16.splat(3)), 4);
    put16(i8x16.sub(v128.or(low, high), i8x16.splat(32)), loadF16(at + 108), out);
  }
}
