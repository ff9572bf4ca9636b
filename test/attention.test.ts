/**
 * Attention with frozen keys: the op's generated check differentiates by every key, so the leading keys that `frozen`
 * declares constant have a check of their own. Their gradients are exactly 0, all others are those of the differences.
 */
import { at, entry } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ReferenceDevice } from "./support/reference_device.ts";
import { Task } from "../engine/task.ts";
import { record } from "../engine/tape.ts";
import { type CheckedOpSpec, applyOp } from "../engine/op.ts";
import {
  type AttentionAttributes,
  type JointAttributes,
  attention,
  jointAttention,
} from "../engine/ops/attention.ts";
import { elements } from "../kernels/base/shape.ts";
import { frozenPairs, sees, visiblePairs } from "../kernels/attention/attention.ref.ts";
import { assertGradient } from "./support/differences.ts";
import { SEED, TestRandom } from "./support/rng.ts";

/** Of an op whose queries are the inputs with "q" in their names; the first `frozen` rows of the others are constants. */
async function check(
  { spec }: { readonly spec: CheckedOpSpec },
  shapes: Readonly<Record<string, readonly number[]>>,
  attributes: AttentionAttributes | JointAttributes,
) {
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
  const made = spec.inputs.map((name) => ({ name, ...fill(entry(shapes, name)) }));
  for (const { tensor } of made) {
    tensor.requiresGrad = true;
    tensor.grad = task.empty(tensor.shape);
    device.writeExact(tensor.grad.view, new Float64Array(tensor.length));
  }
  const tensors = made.map(({ tensor }) => tensor);
  const { result: y, tape } = record(task, () => applyOp(spec, tensors, attributes));
  const cotangent = fill(y.shape);
  tape.backward(y, cotangent.tensor);

  const objective = async (): Promise<number> => {
    using _inner = task.scope();
    const output = new Float64Array(await device.read(applyOp(spec, tensors, attributes).view));
    return output.reduce((sum, value, i) => sum + value * at(cotangent.values, i), 0);
  };
  for (const { name, tensor, values } of made) {
    if (!tensor.grad) throw new Error(`${name} has no gradient`);
    const gradient = new Float64Array(await device.read(tensor.grad.view));
    const rows = /q/i.test(name) ? 0 : Math.min(attributes.frozen ?? 0, at(tensor.shape, 0));
    const constants = rows * elements(tensor.shape.slice(1));
    gradient.subarray(0, constants).forEach((g, i) => {
      assert.is(g, 0, `d${name}[${i}] of a frozen key`);
    });
    await assertGradient(device, name, tensor, values, objective, SEED, constants);
  }
}

test("frozen keys before the queries", () =>
  check(
    attention,
    { q: [3, 4, 3], k: [8, 2, 3], v: [8, 2, 3] },
    { past: 4, window: 0, sinks: 0, frozen: 4, scale: 0.5 },
  ));

test("frozen keys across window, sinks and the queries' own", () =>
  check(
    attention,
    { q: [5, 2, 4], k: [9, 1, 4], v: [9, 1, 4] },
    { past: 3, window: 3, sinks: 1, frozen: 5, scale: 0.7 },
  ));

test("frozen keys near and far, and far ones that all are", async () => {
  const near = { q: [5, 2, 4], k: [9, 1, 4], v: [9, 1, 4] };
  const attributes = { past: 3, window: 2, farPast: 2, frozen: 5, scale: 0.7 };
  await check(jointAttention, { ...near, farQ: [4, 2, 4], farK: [7, 1, 4], farV: [7, 1, 4] }, attributes);
  await check(jointAttention, { ...near, farQ: [4, 2, 4], farK: [2, 1, 4], farV: [2, 1, 4] }, attributes);
});

test("the cost counts exactly the visible pairs, and those with a frozen key", () => {
  for (const T of [1, 4, 9]) {
    for (const past of [0, 3, 12]) {
      for (const window of [0, 1, 4, 30]) {
        for (const sinks of [0, 2, 6]) {
          for (const frozen of [0, 1, 5, 12, 40]) {
            const params = { past, window, sinks, frozen, scale: 1 };
            for (const S of window === 0 ? [1, 3, past + T, 40] : [past + T, 40]) {
              const count = (keys: number): number => {
                let pairs = 0;
                for (let t = past; t < past + T; t++)
                  for (let j = 0; j < keys; j++) if (sees(t, j, params)) pairs++;
                return pairs;
              };
              const what = JSON.stringify({ T, S, ...params });
              assert.is(visiblePairs({ T, S }, params), count(S), what);
              assert.is(frozenPairs({ T, S }, params), count(Math.min(frozen, S)), what);
            }
          }
        }
      }
    }
  }
});

test.run();
