/** Central differences in float64 on the reference device, with which gradients are compared. */
import { at } from "../../kernels/base/at.ts";
import * as assert from "uvu/assert";
import type { ReferenceDevice } from "./reference_device.ts";
import type { Tensor } from "../../engine/tensor.ts";

const STEP = 1e-5;
const BOUND = 1e-7; // h² truncation ~1e-10, rounding ~1e-16/h = 1e-11, times a few hundred terms

/**
 * The tensor's `grad`, from element `from` on, equals the differences of `objective`, which reads the tensor.
 * `values` are the tensor's, and are put back. `name` and `seed` are for the message.
 */
export async function assertGradient(
  device: ReferenceDevice,
  name: string,
  tensor: Tensor,
  values: Float64Array,
  objective: () => Promise<number>,
  seed: number,
  from = 0,
): Promise<void> {
  if (!tensor.grad) throw new Error(`${name} has no gradient`);
  const gradient = new Float64Array(await device.read(tensor.grad.view));
  const objectiveAt = async (i: number, x: number): Promise<number> => {
    device.writeExact(
      tensor.view,
      Float64Array.from(values, (value, j) => (j === i ? x : value)),
    );
    return objective();
  };
  for (let i = from; i < values.length; i++) {
    const numeric =
      ((await objectiveAt(i, at(values, i) + STEP)) - (await objectiveAt(i, at(values, i) - STEP))) /
      (2 * STEP);
    const bound = BOUND * (1 + Math.abs(numeric));
    assert.ok(
      Math.abs(at(gradient, i) - numeric) <= bound,
      `d${name}[${i}] is ${gradient[i]}, differences say ${numeric} (bound ${bound}, seed ${seed})`,
    );
  }
  device.writeExact(tensor.view, values);
}
