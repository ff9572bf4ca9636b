/** q4_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { putSixBits } from "../six_bits.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 144; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return true; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 0; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return v128.and(i32x4.shr_u(v128.load(at + 16 + 32 * (g >> 1)), 4 * (g & 1)), fifteen); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return v128.and(i32x4.shr_u(v128.load(at + 32 + 32 * (g >> 1)), 4 * (g & 1)), fifteen); }
  @inline scales(at: usize, out: usize): void { putSixBits(at + 4, loadF16(at), -loadF16(at + 2), out); }
}
