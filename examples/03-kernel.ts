/**
 * A kernel: what one declaration holds — formula, float64 reference, cost, tolerance — and how a device's answer is held against
 * it. `npx tsx examples/03-kernel.ts`
 */
import { Task, openDevice } from "templora/engine";
import { kernels } from "templora/kernels";

const { rms_norm } = kernels;
const [R, D] = [2, 64];
const params = { eps: 1e-5 };
console.log(rms_norm.name, "·", rms_norm.spec.formula);

const x = Float32Array.from({ length: R * D }, (_, i) => Math.sin(i * i));
const g = Float32Array.from({ length: D }, (_, i) => 1 + i / D);

// the plain loop in float64 that judges every device
const expected = { y: new Float64Array(R * D), rstd: new Float64Array(R) };
const dims = { R, D };
rms_norm.spec.reference({ x: Float64Array.from(x), g: Float64Array.from(g), ...expected }, dims, params);

await using device = await openDevice("cpu", { threads: 1 });
using task = new Task(device);
const { y } = task.run(rms_norm, { x: task.tensor(x, [R, D]), g: task.tensor(g) }, params);
const worst = (await y.data()).reduce(
  (most, value, i) => Math.max(most, Math.abs(value - (expected.y.at(i) ?? NaN))),
  0,
);
const { rel, abs, why } = rms_norm.spec.tolerance(dims, params);
console.log("largest error below 1e-6:", worst < 1e-6);
console.log("allowed:", `${abs} + ${rel} · |reference|`, "because of", why);
console.log("cost:", rms_norm.spec.cost(dims, params, "f32"));
