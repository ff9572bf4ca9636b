/** q4_1 on the CPU. */
import { dotBlocks, widenBlockLines, widenBlockRow } from "../blocks.as";
import { dotDigits } from "../digits.as";

@unmanaged @final class Block {
  @inline get bytes(): usize { return 20; }
  @inline get offset(): bool { return true; }
  @inline first(at: usize, fifteen: v128, eight: v128): v128 {
    return v128.and(v128.load(at, 4), fifteen);
  }
  @inline last(at: usize, fifteen: v128, eight: v128): v128 {
    return v128.and(i32x4.shr_u(v128.load(at, 4), 4), fifteen);
  }
}

export function widenRow(base: usize, element: usize, count: i32, out: usize): void {
  widenBlockRow<Block>(base, element, count, out);
}

export function widenLines(
  base: usize, element: usize, stride: usize, lines: i32, out: usize, near: usize, far: usize, step: usize,
): void {
  widenBlockLines<Block>(base, element, stride, lines, out, near, far, step);
}

export function dotRows(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  if (ASC_FEATURE_RELAXED_SIMD) dotDigits<Block>(a, w, c, n, last, K, alpha, accumulate, scratch);
  else dotBlocks<Block>(a, w, c, n, last, K, alpha, accumulate, scratch);
}
