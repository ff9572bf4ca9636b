/** iq4_xs on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { iq4Values } from "../iq4.as";

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 136; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return false; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return false; }
  @inline get bias(): i8 { return 0; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return iq4Values(v128.and(v128.load(at + 8 + 16 * g), fifteen)); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return iq4Values(v128.and(i32x4.shr_u(v128.load(at + 8 + 16 * g), 4), fifteen)); }
  @inline scales(at: usize, out: usize): void {
    const d = loadF16(at);
    for (let g = 0; g < 8; g++) {
      const low = <i32>load<u8>(at + 4 + (g >> 1)) >> (4 * (g & 1)) & 15;
      const high = <i32>load<u16>(at, 2) >> (2 * g) & 3;
      store<f32>(out + (<usize>g << 2), d * <f32>((low | (high << 4)) - 32));
    }
  }
}
