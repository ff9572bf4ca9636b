/** Small whole scales times the scale of their block. */

/** Sixteen floats from signed bytes. */
// @ts-ignore: decorator
@inline
export function put16(bytes: v128, d: f32, out: usize): void {
  put8(i16x8.extend_low_i8x16_s(bytes), d, out);
  put8(i16x8.extend_high_i8x16_s(bytes), d, out + 32);
}

/** Eight floats from 16-bit numbers. */
// @ts-ignore: decorator
@inline
export function put8(shorts: v128, d: f32, out: usize): void {
  const scale = f32x4.splat(d);
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(shorts)), scale));
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(shorts)), scale), 16);
}
