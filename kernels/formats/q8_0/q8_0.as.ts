/** q8_0 on the CPU. */
import { loadF16 } from "../../shared/float16.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 34; }
  @inline get groups(): i32 { return 1; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return true; }
  @inline get digits(): bool { return false; }
  @inline get bias(): i8 { return 0; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return v128.load(at, 2); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return v128.load(at, 18); }
  @inline scales(at: usize, out: usize): void { store<f32>(out, loadF16(at)); }
}
