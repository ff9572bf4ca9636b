/** q6_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { FIFTEEN, FORTY_EIGHT } from "../bits.as";
import { ofPair } from "../pairs.as";
import { put16 } from "../scales.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 210; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return true; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 32; }
  @inline get apart(): i32 { return 2; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 0); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return ofPair<Block>(at, g, 16); }
  @inline get more(): bool { return true; }
  @inline ownAt(at: usize, i: usize): usize { return at + 32 * i; }
  @inline ownFrom(i: i32): i32 { return 0; }
  @inline moreAt(at: usize, i: usize): usize { return at + 128 + 32 * (i >> 1); }
  @inline moreFrom(i: i32): i32 { return 2 * (i & 1); }
  @inline get ownMask(): usize { return FIFTEEN; }
  @inline get moreMask(): usize { return FORTY_EIGHT; }
  @inline lower(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.or(v128.and(own, ownMask), v128.and(i32x4.shl(more, 4), moreMask)); }
  @inline upper(own: v128, more: v128, ownMask: v128, moreMask: v128): v128 { return v128.or(v128.and(i32x4.shr_u(own, 4), ownMask), v128.and(more, moreMask)); }
  @inline small(at: usize): v128 { return v128.load(at, 192); }
  @inline unit(at: usize): f32 { return loadF16(at + 208); }
  @inline scales(at: usize, out: usize): void { put16(this.small(at), this.unit(at), out); }
}
