/** bf16, widened on the CPU. */
import { dotElements, widenElementLines, widenElements } from "../elements.as";

@unmanaged @final class Element {
  @inline get bytes(): usize { return 2; }
  @inline bits(at: usize): v128 { return f32x4.splat(0); }
  @inline rebias(at: usize): v128 { return f32x4.splat(0); }
  @inline load4(at: usize, bits: v128, rebias: v128): v128 { return i32x4.shl(v128.load16x4_u(at), 16); }
  @inline load1(at: usize): f32 { return reinterpret<f32>(<u32>load<u16>(at) << 16); }
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
