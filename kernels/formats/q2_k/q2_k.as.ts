/** q2_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { THREE } from "../bits.as";
import { ofPair } from "../pairs.as";
import { put16 } from "../scales.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 84; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return true; }
  @inline get offset(): bool { return true; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 0; }
  @inline get apart(): i32 { return 1; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 0); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 16); }
  @inline get more(): bool { return false; }
  @inline ownAt(at: usize, i: usize): usize { return at + 16 + 32 * (i >> 1); }
  @inline ownFrom(i: i32): i32 { return 4 * (i & 1); }
  @inline moreAt(at: usize, i: usize): usize { return at; }
  @inline moreFrom(i: i32): i32 { return 0; }
  @inline get ownMask(): usize { return THREE; }
  @inline get moreMask(): usize { return THREE; }
  @inline lower(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.and(own, ownMask); }
  @inline upper(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.and(i32x4.shr_u(own, 2), ownMask); }
  @inline scales(at: usize, out: usize): void {
    const both = v128.load(at);
    put16(v128.and(both, i8x16.splat(15)), loadF16(at + 80), out);
    put16(v128.and(i32x4.shr_u(both, 4), i8x16.splat(15)), -loadF16(at + 82), out + 64);
  }
}
