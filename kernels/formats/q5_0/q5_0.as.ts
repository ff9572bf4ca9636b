/** q5_0 on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { bit4 } from "../bits.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 22; }
  @inline get groups(): i32 { return 1; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 16; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 {
    return v128.or(v128.and(v128.load(at, 6), fifteen), bit4(load<u16>(at, 2)));
  }
  @inline last(at: usize, g: i32, fifteen: v128): v128 {
    return v128.or(v128.and(i32x4.shr_u(v128.load(at, 6), 4), fifteen), bit4(load<u16>(at, 4)));
  }
  @inline scales(at: usize, out: usize): void { store<f32>(out, loadF16(at)); }
}
