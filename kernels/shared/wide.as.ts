/**
 * Tiles for engines that turn pairs of 128-bit vectors into one of 256 bits (V8 from Node 24 on, x64 with AVX2). They
 * pair what is stored side by side and follow it back, so a tile of four vectors across becomes two. Engines that do not
 * would keep its 16 sums in memory: `wide` says which is the case. Either way gives the same bits.
 */
import { madd } from "./simd.as";

/** 1 where vectors are paired: set by whoever instantiates the module, before the first kernel runs. */
export let wide: i32 = 0;

/**
 * Four rows of 16 sums: c[i][x] (+)= alpha · Σ_s a[i · rowA + s · stepA] · b[s · stepB + x] over `steps` ≥ 0 steps. `rowA`,
 * `stepA`, `stepB` and `rowC` in bytes. Eight vectors of 256 bits are what it takes to hide the multiply-adds' latency.
 */
export function tile4x16(
  a: usize, rowA: usize, stepA: usize, b: usize, stepB: usize, steps: i32,
  c: usize, rowC: usize, alpha: f32, accumulate: boolean,
): void {
  let a0 = a, a1 = a + rowA, a2 = a + 2 * rowA, a3 = a + 3 * rowA;
  let c00 = f32x4.splat(0), c01 = c00, c02 = c00, c03 = c00;
  let c10 = c00, c11 = c00, c12 = c00, c13 = c00;
  let c20 = c00, c21 = c00, c22 = c00, c23 = c00;
  let c30 = c00, c31 = c00, c32 = c00, c33 = c00;
  for (; steps > 0; steps--) {
    const b0 = v128.load(b), b1 = v128.load(b, 16), b2 = v128.load(b, 32), b3 = v128.load(b, 48);
    let x = v128.load32_splat(a0);
    c00 = madd(x, b0, c00); c01 = madd(x, b1, c01); c02 = madd(x, b2, c02); c03 = madd(x, b3, c03);
    x = v128.load32_splat(a1);
    c10 = madd(x, b0, c10); c11 = madd(x, b1, c11); c12 = madd(x, b2, c12); c13 = madd(x, b3, c13);
    x = v128.load32_splat(a2);
    c20 = madd(x, b0, c20); c21 = madd(x, b1, c21); c22 = madd(x, b2, c22); c23 = madd(x, b3, c23);
    x = v128.load32_splat(a3);
    c30 = madd(x, b0, c30); c31 = madd(x, b1, c31); c32 = madd(x, b2, c32); c33 = madd(x, b3, c33);
    a0 += stepA;
    a1 += stepA;
    a2 += stepA;
    a3 += stepA;
    b += stepB;
  }
  const scale = f32x4.splat(alpha);
  put16(c, c00, c01, c02, c03, scale, accumulate);
  put16(c + rowC, c10, c11, c12, c13, scale, accumulate);
  put16(c + 2 * rowC, c20, c21, c22, c23, scale, accumulate);
  put16(c + 3 * rowC, c30, c31, c32, c33, scale, accumulate);
}

// @ts-ignore: decorator
@inline
function put16(c: usize, v0: v128, v1: v128, v2: v128, v3: v128, scale: v128, accumulate: boolean): void {
  if (accumulate) {
    v0 = madd(v0, scale, v128.load(c));
    v1 = madd(v1, scale, v128.load(c, 16));
    v2 = madd(v2, scale, v128.load(c, 32));
    v3 = madd(v3, scale, v128.load(c, 48));
  } else {
    v0 = f32x4.mul(v0, scale);
    v1 = f32x4.mul(v1, scale);
    v2 = f32x4.mul(v2, scale);
    v3 = f32x4.mul(v3, scale);
  }
  v128.store(c, v0);
  v128.store(c, v1, 16);
  v128.store(c, v2, 32);
  v128.store(c, v3, 48);
}
