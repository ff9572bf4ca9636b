/** q4_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { FIFTEEN } from "../bits.as";
import { ofPair } from "../pairs.as";
import { putSixBits } from "../six_bits.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 144; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return true; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 0; }
  @inline get apart(): i32 { return 1; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 0); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 16); }
  @inline get more(): bool { return false; }
  @inline ownAt(at: usize, i: usize): usize { return at + 16 + 32 * i; }
  @inline ownFrom(i: i32): i32 { return 0; }
  @inline moreAt(at: usize, i: usize): usize { return at; }
  @inline moreFrom(i: i32): i32 { return 0; }
  @inline get ownMask(): usize { return FIFTEEN; }
  @inline get moreMask(): usize { return FIFTEEN; }
  @inline lower(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.and(own, ownMask); }
  @inline upper(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.and(i32x4.shr_u(own, 4), ownMask); }
  @inline scales(at: usize, out: usize): void { putSixBits(at + 4, loadF16(at), -loadF16(at + 2), out); }
}
