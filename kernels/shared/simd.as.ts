/**
 * SIMD helpers shared by the AssemblyScript kernels: fused multiply-add where the build has it, horizontal sums.
 * The relaxed build uses relaxed_madd (one rounding on hardware with FMA), the plain build a product and a sum.
 */

// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  else return f32x4.add(f32x4.mul(a, b), c);
}

/** Sum of the four lanes, pairwise. */
// @ts-ignore: decorator
@inline
export function hsum(v: v128): f32 {
  const pair = f32x4.add(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  return f32x4.extract_lane(pair, 0) + f32x4.extract_lane(pair, 1);
}

/** Largest of the four lanes. */
// @ts-ignore: decorator
@inline
export function hmax(v: v128): f32 {
  const pair = f32x4.max(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  return max(f32x4.extract_lane(pair, 0), f32x4.extract_lane(pair, 1));
}

/**
 * e^x of four lanes: x = n·ln 2 + r with |r| ≤ ln 2 / 2, a polynomial of degree 7 for e^r (Cephes expf), n
 * added to the exponent. Within 1.02 ulp on [-87.33, 88.72] in both builds (measured at 40 M points); below
 * that 0, so −∞ and masks vanish; above it the value at 88.72; NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const top = f32x4.pmin(x, f32x4.splat(<f32>88.72));
  // 1.5 · 2²³ rounds to an integer and leaves that integer in the low bits
  const magic = f32x4.splat(<f32>12582912);
  const t = madd(top, f32x4.splat(<f32>1.44269504088896341), magic);
  const n = f32x4.sub(t, magic);
  let r = madd(n, f32x4.splat(<f32>-0.693359375), top);
  r = madd(n, f32x4.splat(<f32>2.12194440e-4), r);
  let p = f32x4.splat(<f32>1.9875691500e-4);
  p = madd(p, r, f32x4.splat(<f32>1.3981999507e-3));
  p = madd(p, r, f32x4.splat(<f32>8.3334519073e-3));
  p = madd(p, r, f32x4.splat(<f32>4.1665795894e-2));
  p = madd(p, r, f32x4.splat(<f32>1.6666665459e-1));
  p = madd(p, r, f32x4.splat(<f32>5.0000001201e-1));
  const e = f32x4.add(madd(p, f32x4.mul(r, r), r), f32x4.splat(1));
  const scaled = i32x4.add(e, i32x4.shl(t, 23));
  return v128.andnot(scaled, f32x4.lt(x, f32x4.splat(<f32>-87.33)));
}

/**
 * Natural logarithm of a positive normal number: exponent and an atanh series in f64. Correctly rounded but
 * for about two values in a million, which are the neighbour.
 */
export function log1(x: f32): f32 {
  const bits = reinterpret<i32>(x);
  // e such that m = x / 2^e lies in [sqrt(1/2), sqrt(2))
  const e = (bits - 0x3f3504f3) >> 23;
  const m = <f64>reinterpret<f32>(bits - (e << 23));
  const s = (m - 1) / (m + 1);
  const z = s * s;
  const series = 1 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11)))));
  return <f32>(<f64>e * 0.6931471805599453 + 2 * s * series);
}

/**
 * The vector `v` by way of memory at `at`, so that the compiler forgets that it is a constant: V8 keeps it in a
 * register then, where it would build a constant anew at every use (a quarter of the time of a quantised dot product).
 */
// @ts-ignore: decorator
@inline
export function pinned(v: v128, at: usize): v128 {
  v128.store(at, v);
  return v128.load(at);
}

/** Writes a sum, or adds it to what is there. */
// @ts-ignore: decorator
@inline
export function putSum(at: usize, value: f32, accumulate: boolean): void {
  store<f32>(at, accumulate ? load<f32>(at) + value : value);
}
