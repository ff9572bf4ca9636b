/**
 * Every op's vector–Jacobian product against central differences in float64, with a random cotangent, for all
 * differentiable inputs: generated from engine/ops/index.ts. It runs on the reference device: differences need
 * float64; the conformance tests compare the other devices' kernels with it.
 */
import { at, entry } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ReferenceDevice } from "./support/reference_device.ts";
import { Task } from "../engine/task.ts";
import { record } from "../engine/tape.ts";
import { type CheckedOpSpec, type OpCheck, applyOp } from "../engine/op.ts";
import { ops } from "../engine/ops/index.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import { elements } from "../kernels/base/shape.ts";
import type { Tensor } from "../engine/tensor.ts";
import { assertGradient } from "./support/differences.ts";
import { type GradientRecord, record as keep } from "./support/record.ts";

const SEED = 20240111;

const device = new ReferenceDevice();
const task = new Task(device);

/** Roughly normal values from sums of uniforms. */
function values(place: number, count: number): Float64Array {
  const u = uniforms(SEED, stream(Purpose.init, place), 0, 3 * count);
  return Float64Array.from(
    { length: count },
    (_, i) => 2 * (at(u, 3 * i) + at(u, 3 * i + 1) + at(u, 3 * i + 2) - 1.5),
  );
}

function input(
  given: readonly number[] | Int32Array | Float32Array,
  place: number,
): { tensor: Tensor; values: Float64Array } {
  if (given instanceof Int32Array) return { tensor: task.tensor(given), values: new Float64Array() };
  if (given instanceof Float32Array) return { tensor: task.tensor(given), values: Float64Array.from(given) };
  const tensor = task.empty(given);
  const exact = values(place, elements(given));
  device.writeExact(tensor.view, exact);
  return { tensor, values: exact };
}

async function readExact(tensor: Tensor): Promise<Float64Array> {
  return new Float64Array(await device.read(tensor.view));
}

async function check(spec: CheckedOpSpec, { inputs, attributes }: OpCheck<string, unknown>): Promise<void> {
  using _scope = task.scope();
  const made = Object.fromEntries(Object.entries(inputs).map(([name, given], i) => [name, input(given, i)]));
  const tensors = Object.fromEntries(Object.entries(made).map(([name, { tensor }]) => [name, tensor]));
  for (const name of spec.differentiable) {
    const tensor = tensors[name];
    if (!tensor) throw new Error(`${spec.name}: no input ${name}`);
    tensor.requiresGrad = true;
    tensor.grad = task.empty(tensor.shape);
    device.writeExact(tensor.grad.view, new Float64Array(tensor.length));
  }
  if (spec.cheap) {
    const { saved } = spec.forward(task, tensors, attributes);
    const missing = spec.inputs.filter((name) => saved[name] !== tensors[name]);
    assert.equal(missing, [], "saved inputs");
  }
  const inOrder = spec.inputs.map((name) => entry(tensors, name));
  const apply = (): Tensor => applyOp(spec, inOrder, attributes);
  const { result: output, tape } = record(task, apply);
  const cotangent = task.empty(output.shape);
  const weights = values(77, output.length);
  device.writeExact(cotangent.view, weights);
  const before = await readExact(output);
  tape.backward(output, cotangent);
  assert.equal(await readExact(output), before, "the backward leaves the output alone");

  const objective = async (): Promise<number> => {
    using _inner = task.scope();
    return (await readExact(apply())).reduce((sum, y, i) => sum + y * at(weights, i), 0);
  };
  for (const name of spec.differentiable) {
    const { tensor, values: exact } = made[name] ?? { tensor: undefined, values: new Float64Array() };
    if (!tensor) throw new Error(`${spec.name}: no input ${name}`);
    await assertGradient(device, name, tensor, exact, objective, SEED);
  }
}

const checked: Record<string, { inputs: readonly string[]; checks: number } | undefined> = {};

for (const { spec } of Object.values(ops)) {
  spec.checks.forEach((one, i) => {
    test(`${spec.name}, check ${i + 1}: gradients of ${spec.differentiable.join(", ")}`, async () => {
      await check(spec, one);
      checked[spec.name] = { inputs: spec.differentiable, checks: (checked[spec.name]?.checks ?? 0) + 1 };
    });
  });
}

test("the check catches a wrong gradient", async () => {
  const wrong: CheckedOpSpec = { ...ops.swiglu.spec, vjp: (_e, dy) => ({ gate: dy, up: dy }) };
  let caught = false;
  await check(wrong, { inputs: { gate: [2, 2], up: [2, 2] }, attributes: {} }).catch(() => (caught = true));
  assert.ok(caught);
});

test("nothing is left allocated", () => {
  assert.is(device.stats().liveBuffers, 0);
});

test.after(() => keep("gradients", { seed: SEED, ops: checked as GradientRecord["ops"] }));

test("errors name an op as it is exported", () => {
  for (const [name, { spec }] of Object.entries(ops)) assert.is(spec.name, name);
});

test.run();
