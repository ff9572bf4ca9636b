/**
 * Matrix products on the CPU, all layouts: the units are the tiles of the output, in row-major order of tiles
 * (tiles.both.ts). README.md tells how this came to be.
 */
import { F32 } from "../build/formats.as";
import { fewRowsOfA, fewRowsOfW } from "./dot.as";
import { ACROSS, ALONG, gemm } from "./gemm.as";
import { SKINNY } from "./tiles.both";

export function matmul_nt(
  a: usize, w: usize, c: usize,
  M: i32, K: i32, N: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  if (M <= SKINNY) fewRowsOfA(a, w, c, M, N, K, alpha, false, format, begin, end, scratch);
  else if (N <= SKINNY) fewRowsOfW(a, w, c, M, N, K, alpha, false, format, begin, end, scratch);
  else gemm(ALONG, ALONG, a, w, c, M, N, K, K, K, alpha, false, format, begin, end, scratch);
}

export function matmul_nt_acc(
  a: usize, w: usize, c: usize,
  M: i32, K: i32, N: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  if (M <= SKINNY) fewRowsOfA(a, w, c, M, N, K, alpha, true, format, begin, end, scratch);
  else if (N <= SKINNY) fewRowsOfW(a, w, c, M, N, K, alpha, true, format, begin, end, scratch);
  else gemm(ALONG, ALONG, a, w, c, M, N, K, K, K, alpha, true, format, begin, end, scratch);
}

export function matmul_nn(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  gemm(ALONG, ACROSS, a, w, c, M, K, N, N, K, alpha, false, format, begin, end, scratch);
}

export function matmul_nn_acc(
  a: usize, w: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  gemm(ALONG, ACROSS, a, w, c, M, K, N, N, K, alpha, true, format, begin, end, scratch);
}

export function matmul_tn(
  a: usize, b: usize, c: usize,
  M: i32, N: i32, K: i32, alpha: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  gemm(ACROSS, ACROSS, a, b, c, N, K, M, N, K, alpha, false, F32, begin, end, scratch);
}
