/** q2_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { bits2 } from "../bits.as";
import { put16 } from "../scales.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 84; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return true; }
  @inline get offset(): bool { return true; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 0; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return bits2(at + 16 + 32 * (g >> 2), 2 * (g & 3)); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return bits2(at + 32 + 32 * (g >> 2), 2 * (g & 3)); }
  @inline scales(at: usize, out: usize): void {
    const both = v128.load(at);
    put16(v128.and(both, i8x16.splat(15)), loadF16(at + 80), out);
    put16(v128.and(i32x4.shr_u(both, 4), i8x16.splat(15)), -loadF16(at + 82), out + 64);
  }
}
