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

/** The bytes of v at `indices`, 0 where an index is negative; those from 16 to 127 are not allowed. */
// @ts-ignore: decorator
@inline
export function swizzled(v: v128, indices: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i8x16.relaxed_swizzle(v, indices);
  else return i8x16.swizzle(v, indices);
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

// Constants in memory, from where they are one instruction's operand: V8 makes a vector constant anew, in several, wherever it is used.
/** A polynomial of degree 7 for e^r − 1 (Cephes expf), from the highest power on. */
const E7 = memory.data<f32>([1.9875691500e-4]);
const E6 = memory.data<f32>([1.3981999507e-3]);
const E5 = memory.data<f32>([8.3334519073e-3]);
const E4 = memory.data<f32>([4.1665795894e-2]);
const E3 = memory.data<f32>([1.6666665459e-1]);
const E2 = memory.data<f32>([5.0000001201e-1]);
const ONE = memory.data<f32>([1]);
const LOG2_E = memory.data<f32>([1.44269504088896341]);
/** −ln 2 in two parts. */
const LESS_LN_2 = memory.data<f32>([-0.693359375]);
const LESS_LN_2_REST = memory.data<f32>([2.12194440e-4]);
/** 1.5 · 2²³ rounds to an integer and leaves that integer in the low bits. */
const MAGIC = memory.data<f32>([12582912]);
/** Where e^x is largest, and where it is 0. */
const EXP_TOP = memory.data<f32>([88.72]);
const EXP_ZERO = memory.data<f32>([-87.33]);
/** Where tanh is 1. */
const TANH_TOP = memory.data<f32>([10]);
const TWO = memory.data<f32>([2]);
const SIGN = memory.data<f32>([-0.0]);

/** Four times the f32 at `at`. */
// @ts-ignore: decorator
@inline
export function constant(at: usize): v128 {
  return v128.load32_splat(at);
}

/** e^r − 1 of four lanes for |r| ≤ ln 2 / 2. */
// @ts-ignore: decorator
@inline
function expLess1(r: v128): v128 {
  let p = madd(constant(E7), r, constant(E6));
  p = madd(p, r, constant(E5));
  p = madd(p, r, constant(E4));
  p = madd(p, r, constant(E3));
  p = madd(p, r, constant(E2));
  return madd(p, f32x4.mul(r, r), r);
}

/**
 * e^x of four lanes: x = n·ln 2 + r with |r| ≤ ln 2 / 2, the polynomial for e^r, n
 * added to the exponent. Within 1.02 ulp on [-87.33, 88.72] in both builds (measured at 40 M points); below
 * that 0, so −∞ and masks vanish; above it the value at 88.72; NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const top = f32x4.pmin(x, constant(EXP_TOP));
  const magic = constant(MAGIC);
  const t = madd(top, constant(LOG2_E), magic);
  const n = f32x4.sub(t, magic);
  let r = madd(n, constant(LESS_LN_2), top);
  r = madd(n, constant(LESS_LN_2_REST), r);
  const e = f32x4.add(expLess1(r), constant(ONE));
  const scaled = i32x4.add(e, i32x4.shl(t, 23));
  return v128.andnot(scaled, f32x4.lt(x, constant(EXP_ZERO)));
}

/**
 * tanh x of four lanes as m / (m + 2) with m = e^2|x| − 1, which takes the steps of exp4 but for the sum with 1: 2^n joins as
 * m = 2^n · (e^r − 1) + (2^n − 1), so that nothing cancels near 0. Within 2.5 ulp, 1.8e-7 of the value, in both builds
 * (measured at every float from 2^-31 to 11). From |x| = 10 on it is ±1; NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const a = f32x4.pmin(f32x4.abs(x), constant(TANH_TOP));
  const y = f32x4.add(a, a);
  const magic = constant(MAGIC);
  const t = madd(y, constant(LOG2_E), magic);
  const n = f32x4.sub(t, magic);
  let r = madd(n, constant(LESS_LN_2), y);
  r = madd(n, constant(LESS_LN_2_REST), r);
  const one = constant(ONE);
  const power = i32x4.add(one, i32x4.shl(t, 23));
  const m = madd(power, expLess1(r), f32x4.sub(power, one));
  return v128.bitselect(x, f32x4.div(m, f32x4.add(m, constant(TWO))), constant(SIGN));
}

/** cap · tanh(x / cap) of four lanes: a soft cap (Gemma 2, https://arxiv.org/abs/2408.00118, section 2). */
// @ts-ignore: decorator
@inline
export function softCap4(x: v128, cap: v128): v128 {
  return f32x4.mul(cap, tanh4(f32x4.div(x, cap)));
}

/** Its derivative, from the capped y: 1 − (y / cap)². */
// @ts-ignore: decorator
@inline
export function softCapSlope4(y: v128, cap: v128): v128 {
  const u = f32x4.div(y, cap);
  return f32x4.sub(constant(ONE), f32x4.mul(u, u));
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
