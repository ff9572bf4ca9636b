/** The scales and minimums of q4_k and q5_k. */
import { put8 } from "./scales.as";

/**
 * Eight scales times d, and eight minimums times m, out of the 6-bit numbers in the 12 bytes at `at`: the first four of each have a
 * byte's low bits, the others a nibble and the two bits above the first four.
 */
// @ts-ignore: decorator
@inline
export function putSixBits(at: usize, d: f32, m: f32, out: usize): void {
  const a = load<u32>(at), b = load<u32>(at, 4), c = load<u32>(at, 8);
  const scales = i32x4(a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | ((a >> 2) & 0x30303030), 0, 0);
  const minimums = i32x4(b & 0x3f3f3f3f, ((c >> 4) & 0x0f0f0f0f) | ((b >> 2) & 0x30303030), 0, 0);
  put8(i16x8.extend_low_i8x16_s(scales), d, out);
  put8(i16x8.extend_low_i8x16_s(minimums), m, out + 32);
}
