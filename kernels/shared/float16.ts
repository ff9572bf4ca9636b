/** IEEE binary16 to and from its bits; Node 20 has no Float16Array. */

/** 2^(e − 25) by exponent field: what one unit of the mantissa is worth. */
const UNITS = Float64Array.from({ length: 31 }, (_, e) => 2 ** (Math.max(e, 1) - 25));
const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);
/** Adding and subtracting it rounds a double below 2⁵² to an integer, ties to even. */
const ROUNDER = 2 ** 52;

/** The value of 16 bits. */
export function float16(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? mantissa : mantissa + 1024) * UNITS[exponent];
}

/** The bits of the nearest binary16; ties to even. */
float16.bits = (value: number): number => {
  double[0] = value;
  const high = words[1]; // little-endian, as every engine with WebAssembly or WebGPU
  const sign = (high >>> 16) & 0x8000;
  if (Number.isNaN(value)) return sign | 0x7e00;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00; // halfway between the largest value and 2¹⁶
  const exponent = Math.max(((high >>> 20) & 0x7ff) - 1008, 1); // 1 also for the subnormals of binary16
  const units = size / UNITS[exponent] + ROUNDER - ROUNDER; // exact but for the one rounding
  return sign | (exponent * 1024 + units - 1024); // a carry moves on into the exponent; below 1024 it is subnormal
};
