/** f32 on the CPU: widening is a copy. */
import { dotElements } from "../elements.as";

@unmanaged @final class Element {
  @inline get bytes(): usize { return 4; }
  @inline bits(at: usize): v128 { return f32x4.splat(0); }
  @inline rebias(at: usize): v128 { return f32x4.splat(0); }
  @inline load4(at: usize, bits: v128, rebias: v128): v128 { return v128.load(at); }
  @inline load1(at: usize): f32 { return load<f32>(at); }
}

export function widenRow(base: usize, element: usize, count: i32, out: usize): void {
  memory.copy(out, base + (element << 2), <usize>count << 2);
}

export function dotRows(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  dotElements<Element>(a, w, c, n, last, K, alpha, accumulate, scratch);
}
