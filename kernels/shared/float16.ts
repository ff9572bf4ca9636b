/** IEEE binary16 to and from its bits (Node 20 has no Float16Array); rounding is @petamoriken/float16's. */
import { setFloat16 } from "@petamoriken/float16";

const scratch = new DataView(new ArrayBuffer(2));
/** 2^(e − 25) by exponent field: what one unit of the mantissa is worth. */
const UNITS = Float64Array.from({ length: 31 }, (_, e) => 2 ** (Math.max(e, 1) - 25));

/** The value of 16 bits. */
export function float16(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? mantissa : mantissa + 1024) * UNITS[exponent];
}

/** The bits of the nearest binary16. */
float16.bits = (value: number): number => {
  setFloat16(scratch, 0, value);
  return scratch.getUint16(0);
};
