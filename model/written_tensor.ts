/** A tensor that is to be written into a file, part by part. */
import type { Filling } from "../engine/backends/host/files.ts";
import { byteLength } from "../kernels/base/dtype.ts";
import { elements } from "../kernels/base/shape.ts";
import type { WeightDType } from "../kernels/formats/index.ts";

type Parts = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

export interface WrittenTensor {
  readonly name: string;
  readonly dtype: WeightDType;
  /** [out, in] for a matrix. */
  readonly shape: readonly number[];
  /** Its bytes, in any number of parts. */
  readonly parts: () => Parts | Promise<Parts>;
}

export const bytesOf = ({ dtype, shape }: WrittenTensor): number => byteLength(dtype, elements(shape));

/** Appends its bytes. */
export async function writeTensor(file: Filling, tensor: WrittenTensor): Promise<void> {
  let written = 0;
  for await (const part of await tensor.parts()) {
    await file.write(part);
    written += part.length;
  }
  if (written !== bytesOf(tensor))
    throw new TypeError(`${tensor.name}: ${written} bytes where ${bytesOf(tensor)} are expected`);
}
