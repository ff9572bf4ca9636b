/** iq4_nl on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { iq4Values } from "../iq4.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 18; }
  @inline get groups(): i32 { return 1; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return true; }
  @inline get digits(): bool { return false; }
  @inline get bias(): i8 { return 0; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return iq4Values(v128.and(v128.load(at, 2), fifteen)); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return iq4Values(v128.and(i32x4.shr_u(v128.load(at, 2), 4), fifteen)); }
  @inline scales(at: usize, out: usize): void { store<f32>(out, loadF16(at)); }
}
