/** q3_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { FOUR, THREE } from "../bits.as";
import { ofPair } from "../pairs.as";
import { put16 } from "../scales.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 110; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return true; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 4; }
  @inline get apart(): i32 { return 1; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 0); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 16); }
  @inline get more(): bool { return true; }
  @inline ownAt(at: usize, i: usize): usize { return at + 32 + 32 * (i >> 1); }
  @inline ownFrom(i: i32): i32 { return 4 * (i & 1); }
  @inline moreAt(at: usize, i: usize): usize { return at; }
  @inline moreFrom(i: i32): i32 { return 2 * i; }
  @inline get ownMask(): usize { return THREE; }
  @inline get moreMask(): usize { return FOUR; }
  @inline lower(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.or(v128.and(own, ownMask), v128.and(i32x4.shl(more, 2), moreMask)); }
  @inline upper(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.or(v128.and(i32x4.shr_u(own, 2), ownMask), v128.and(i32x4.shl(more, 1), moreMask)); }
  @inline small(at: usize): v128 {
    const eight = load<u64>(at + 96);
    const low = v128.and(i64x2(eight, eight >> 4), i8x16.splat(15));
    const two = load<u32>(at + 104);
    const high = i32x4.shl(v128.and(i32x4(two, two >> 2, two >> 4, two >> 6), i8x16.splat(3)), 4);
    return i8x16.sub(v128.or(low, high), i8x16.splat(32));
  }
  @inline unit(at: usize): f32 { return loadF16(at + 108); }
  @inline scales(at: usize, out: usize): void { put16(this.small(at), this.unit(at), out); }
}
