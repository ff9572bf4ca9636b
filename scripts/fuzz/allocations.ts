/**
 * Sees how large a buffer is asked for. What is in use afterwards does not tell: a gigabyte that nobody touches is no memory yet, and one that
 * nobody holds may be gone before anybody looks.
 */

let largest = 0;

/** Bytes of the largest buffer since this was last asked. */
export function largestBuffer(): number {
  const bytes = largest;
  largest = 0;
  return bytes;
}

const note = (length: unknown, bytes = 1): void => {
  if (typeof length === "number") largest = Math.max(largest, length * bytes);
};

const { Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array } = globalThis;
const { Float32Array, Float64Array, BigInt64Array, BigUint64Array, ArrayBuffer, SharedArrayBuffer } =
  globalThis;
const typed = { Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array };
const wide = { Float32Array, Float64Array, BigInt64Array, BigUint64Array, ArrayBuffer, SharedArrayBuffer };

for (const [name, real] of Object.entries({ ...typed, ...wide })) {
  const bytes = "BYTES_PER_ELEMENT" in real ? real.BYTES_PER_ELEMENT : 1;
  const watched: object = new Proxy(real, {
    construct(constructor, args: unknown[], target) {
      note(args[0], bytes);
      return Reflect.construct(constructor, args, target === watched ? constructor : target) as object;
    },
  });
  Object.assign(globalThis, { [name]: watched });
}
for (const name of ["alloc", "allocUnsafe", "allocUnsafeSlow"] as const) {
  const real = Buffer[name].bind(Buffer) as (size: number, ...rest: unknown[]) => Buffer;
  Object.assign(Buffer, {
    [name]: (size: number, ...rest: unknown[]) => {
      note(size);
      return real(size, ...rest);
    },
  });
}
