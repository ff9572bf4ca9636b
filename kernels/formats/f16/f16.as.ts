/** f16, widened on the CPU. */
import { F16_BITS, F16_REBIAS, loadF16, loadF16x4 } from "../../shared/float16.as";
import { pinned } from "../../shared/simd.as";
import { dotElements, widenElementLines, widenElements } from "../elements.as";

@unmanaged @final class Element {
  @inline get bytes(): usize { return 2; }
  @inline bits(at: usize): v128 { return pinned(i32x4.splat(F16_BITS), at); }
  @inline rebias(at: usize): v128 { return pinned(f32x4.splat(F16_REBIAS), at); }
  @inline load4(at: usize, bits: v128, rebias: v128): v128 { return loadF16x4(at, bits, rebias); }
  @inline load1(at: usize): f32 { return loadF16(at); }
}

export function widenRow(base: usize, element: usize, count: i32, out: usize): void {
  widenElements<Element>(base, element, count, out);
}

export function widenLines(
  base: usize, element: usize, stride: usize, lines: i32, out: usize, near: usize, far: usize, step: usize,
): void {
  widenElementLines<Element>(base, element, stride, lines, out, near, far, step);
}

export function dotRows(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  dotElements<Element>(a, w, c, n, last, K, alpha, accumulate, scratch);
}
