/** q5_0 on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { withBit4 } from "../bits.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 22; }
  @inline get groups(): i32 { return 1; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return true; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 16; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 {
    return withBit4(v128.and(v128.load(at, 6), fifteen), at + 2, fifteen);
  }
  @inline last(at: usize, g: i32, fifteen: v128): v128 {
    return withBit4(v128.and(i32x4.shr_u(v128.load(at, 6), 4), fifteen), at + 4, fifteen);
  }
  @inline scales(at: usize, out: usize): void { store<f32>(out, loadF16(at)); }
}
