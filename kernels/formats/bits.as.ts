/** Bits of quantised elements that lie apart from the others. */

/** 16 in the lanes whose bit of `bits` is set, else 0. */
// @ts-ignore: decorator
@inline
export function bit4(bits: i32): v128 {
  const spread = i8x16.swizzle(i32x4.splat(bits), i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  const own = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  return v128.and(i8x16.eq(v128.and(spread, own), own), i8x16.splat(16));
}

/** Bits [from, from + 2) of 16 bytes. */
// @ts-ignore: decorator
@inline
export function bits2(at: usize, from: i32): v128 {
  return v128.and(i32x4.shr_u(v128.load(at), from), i8x16.splat(3));
}

/** Bit `from` of 16 bytes. */
// @ts-ignore: decorator
@inline
export function bits1(at: usize, from: i32): v128 {
  return v128.and(i32x4.shr_u(v128.load(at), from), i8x16.splat(1));
}
