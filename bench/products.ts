/** A matrix product as a candidate of a benchmark, on any device. */
import type { Device } from "../engine/device.ts";
import { type WeightDType, isWeightDType } from "../engine/dtype.ts";
import { elements, resolveShape } from "../engine/shape.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import * as products from "../kernels/matmul/matmul.ts";

export type Work = readonly [
  kernel: keyof typeof products,
  M: number,
  N: number,
  K: number,
  weight?: WeightDType,
];

export interface ProductRun {
  readonly name: string;
  /** Issues the product once; on WebGPU it is done at the next flush. */
  readonly run: () => void;
  readonly flops: number;
  readonly bytes: number;
}

export function product(device: Device, [name, M, N, K, weight = "f32"]: Work): ProductRun {
  const kernel: AnyKernel = products[name];
  const dims = { M, N, K };
  const slots = Object.fromEntries(
    kernel.slots.map((slot) => {
      const length = elements(resolveShape(name, slot, dims));
      const dtype = slot.dtype === "weight" ? weight : slot.dtype;
      const buffer = device.allocate(dtype, length, slot.name);
      const view = { buffer, offset: 0, length };
      // Zero bytes are zero in every format; speed does not depend on the values.
      if (isWeightDType(dtype)) device.write(view, new Uint8Array(buffer.bytes));
      return [slot.name, view];
    }),
  );
  const params = kernel.spec.defaults;
  const run = (): void => device.run({ kernel, slots, dims, params });
  return { name: `${name} ${M}×${N}×${K} ${weight}`, run, ...kernel.spec.cost(dims, params, weight) };
}
