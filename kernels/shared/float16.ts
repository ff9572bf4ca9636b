/** IEEE binary16 to and from its bits, through @petamoriken/float16 (Node 20 has no Float16Array). */
import { getFloat16, setFloat16 } from "@petamoriken/float16";

const scratch = new DataView(new ArrayBuffer(2));

/** The value of 16 bits. */
export function float16(bits: number): number {
  scratch.setUint16(0, bits);
  return getFloat16(scratch, 0);
}

/** The bits of the nearest binary16. */
float16.bits = (value: number): number => {
  setFloat16(scratch, 0, value);
  return scratch.getUint16(0);
};
