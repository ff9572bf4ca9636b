/**
 * Matrix products on the CPU, all layouts: the units are the tiles of the output, in row-major order of tiles
 * (tiles.both.ts).
 */
import { F32 } from "../build/formats.as";
import { fewRowsOfA, fewRowsOfW } from "./dot.as";
import { Accumulate, Across, Along, Assign } from "./forms.as";
import { gemm } from "./gemm.as";
import { SKINNY } from "./tiles.both";

export function matmul_nt(
  a: usize, w: usize, c: usize,
  M: i32, K: i32, N: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  nt<Assign>(a, w, c, M, N, K, alpha, format, begin, end, scratch);
}

export function matmul_nt_acc(
  a: usize, w: usize, c: usize,
  M: i32, K: i32, N: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  nt<Accumulate>(a, w, c, M, N, K, alpha, format, begin, end, scratch);
}

// @ts-ignore: decorator
@inline
function nt<Out>(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  if (M <= SKINNY) fewRowsOfA<Out>(a, w, c, M, N, K, alpha, format, begin, end, scratch);
  else if (N <= SKINNY) fewRowsOfW<Out>(a, w, c, M, N, K, alpha, format, begin, end, scratch);
  else gemm<Along, Along, Out>(a, w, c, M, N, K, alpha, format, begin, end, scratch);
}

export function matmul_nn(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  gemm<Along, Across, Assign>(a, w, c, M, K, N, alpha, format, begin, end, scratch);
}

export function matmul_nn_acc(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  gemm<Along, Across, Accumulate>(a, w, c, M, K, N, alpha, format, begin, end, scratch);
}

export function matmul_tn(
  a: usize, b: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  gemm<Across, Across, Assign>(a, b, c, N, K, M, alpha, F32, begin, end, scratch);
}
