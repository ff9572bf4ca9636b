/** q6_k on the CPU. */
import { loadF16 } from "../../shared/float16.as";
import { bits2 } from "../bits.as";
import { put16 } from "../scales.as";

/** Elements [from, from + 16) of a group: four bits, and two above them. */
// @ts-ignore: decorator
@inline
function quants(at: usize, g: i32, from: i32, fifteen: v128): v128 {
  const nibbles = v128.load(at + 64 * (g >> 2) + 32 * (g & 1) + from);
  const low = v128.and(i32x4.shr_u(nibbles, 4 * (g >> 1 & 1)), fifteen);
  const high = i32x4.shl(bits2(at + 128 + 32 * (g >> 2) + from, 2 * (g & 3)), 4);
  return v128.or(low, high);
}

@unmanaged @final export class Block {
  @inline get bytes(): usize { return 210; }
  @inline get groups(): i32 { return 8; }
  @inline get split(): bool { return true; }
  @inline get offset(): bool { return false; }
  @inline get halves(): bool { return false; }
  @inline get digits(): bool { return true; }
  @inline get bias(): i8 { return 32; }
  @inline first(at: usize, g: i32, fifteen: v128): v128 { return quants(at, g, 0, fifteen); }
  @inline last(at: usize, g: i32, fifteen: v128): v128 { return quants(at, g, 16, fifteen); }
  @inline scales(at: usize, out: usize): void { put16(v128.load(at, 192), loadF16(at + 208), out); }
}
