/**
 * binary16 in memory. One is widened by moving its bits to binary32's places and multiplying by 2^112, the difference of
 * the exponents' biases: exact, subnormals included. Weights are finite, which their loader sees to; infinity and NaN would become 65536 and more.
 */

/** Where sign, exponent and fraction of a sign-extended binary16 are after a shift by 13. */
export const F16_BITS: i32 = 0x8fffe000;
export const F16_REBIAS: f32 = 5.192296858534828e33;

/** The value of a binary16 in memory. */
// @ts-ignore: decorator
@inline
export function loadF16(at: usize): f32 {
  return reinterpret<f32>((<i32>load<i16>(at) << 13) & F16_BITS) * F16_REBIAS;
}

/** Four of them; `bits` and `rebias` are F16_BITS and F16_REBIAS in all lanes, pinned. */
// @ts-ignore: decorator
@inline
export function loadF16x4(at: usize, bits: v128, rebias: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(at), 13), bits), rebias);
}
