/**
 * Attention with frozen keys: the op's generated check differentiates by every key, so the leading keys that `frozen`
 * declares constant have a check of their own. Their gradients are exactly 0, all others are those of the differences.
 */
import { at } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ReferenceDevice } from "./support/reference_device.ts";
import { Task } from "../engine/task.ts";
import { record } from "../engine/tape.ts";
import { type AttentionAttributes, attention } from "../engine/ops/attention.ts";
import { elements } from "../kernels/base/shape.ts";
import { frozenPairs, sees } from "../kernels/attention/attention.ref.ts";
import { assertGradient } from "./support/differences.ts";
import { SEED, TestRandom } from "./support/rng.ts";

async function check(shapes: Record<"q" | "k" | "v", readonly number[]>, attributes: AttentionAttributes) {
  const device = new ReferenceDevice();
  const task = new Task(device);
  using _scope = task.scope();
  const random = new TestRandom(SEED, "attention");
  const fill = (shape: readonly number[]) => {
    const tensor = task.empty(shape);
    const values = Float64Array.from({ length: elements(shape) }, () => random.normal());
    device.writeExact(tensor.view, values);
    return { tensor, values };
  };
  const made = { q: fill(shapes.q), k: fill(shapes.k), v: fill(shapes.v) };
  const tensors = { q: made.q.tensor, k: made.k.tensor, v: made.v.tensor };
  for (const tensor of Object.values(tensors)) {
    tensor.requiresGrad = true;
    tensor.grad = task.empty(tensor.shape);
    device.writeExact(tensor.grad.view, new Float64Array(tensor.length));
  }
  const { result: y, tape } = record(task, () =>
    attention(made.q.tensor, made.k.tensor, made.v.tensor, attributes),
  );
  const cotangent = fill(y.shape);
  tape.backward(y, cotangent.tensor);

  const objective = async (): Promise<number> => {
    using _inner = task.scope();
    const output = new Float64Array(
      await device.read(attention(made.q.tensor, made.k.tensor, made.v.tensor, attributes).view),
    );
    return output.reduce((sum, value, i) => sum + value * at(cotangent.values, i), 0);
  };
  for (const name of ["q", "k", "v"] as const) {
    const { tensor, values } = made[name];
    if (!tensor.grad) throw new Error(`${name} has no gradient`);
    const gradient = new Float64Array(await device.read(tensor.grad.view));
    const constants = name === "q" ? 0 : (attributes.frozen ?? 0) * elements(tensor.shape.slice(1));
    gradient.subarray(0, constants).forEach((g, i) => {
      assert.is(g, 0, `d${name}[${i}] of a frozen key`);
    });
    await assertGradient(device, name, tensor, values, objective, SEED, constants);
  }
}

test("frozen keys before the queries", () =>
  check(
    { q: [3, 4, 3], k: [8, 2, 3], v: [8, 2, 3] },
    { past: 4, window: 0, sinks: 0, frozen: 4, scale: 0.5 },
  ));

test("frozen keys across window, sinks and the queries' own", () =>
  check(
    { q: [5, 2, 4], k: [9, 1, 4], v: [9, 1, 4] },
    { past: 3, window: 3, sinks: 1, frozen: 5, scale: 0.7 },
  ));

test("the cost counts exactly the visible pairs with a frozen key", () => {
  for (const T of [1, 4, 9]) {
    for (const past of [0, 3, 12]) {
      for (const window of [0, 1, 4, 30]) {
        for (const sinks of [0, 2, 6]) {
          for (const frozen of [0, 1, 5, 12, 40]) {
            const params = { past, window, sinks, frozen, scale: 1 };
            let count = 0;
            for (let t = past; t < past + T; t++) {
              for (let j = 0; j < Math.min(frozen, t + 1); j++) if (sees(t, j, params)) count++;
            }
            assert.is(frozenPairs({ T }, params), count, JSON.stringify({ T, ...params }));
          }
        }
      }
    }
  }
});

test.run();
