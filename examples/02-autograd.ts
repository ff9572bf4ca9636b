/** A tape: fits y = x·wᵀ by gradient descent on a squared error, written with ops. `npx tsx examples/02-autograd.ts` */
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { AdamW, Task, Parameters, ops } from "../engine/index.ts";

const device = await openCpu();
const task = new Task(device);
const parameters = new Parameters(task, [{ name: "w", shape: [1, 3] }]); // zero at birth
const optimizer = new AdamW(parameters, { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0, clip: 0 });
const data = Float32Array.from({ length: 8 * 3 }, (_, i) => Math.sin(i * i));
const truth = [0.5, -1, 2];

for (let step = 0; step < 400; step++) {
  using _scope = task.scope();
  const x = task.tensor(data, [8, 3]);
  // The tape records what runs inside, and walks it backward from an output and that output's cotangent.
  const { result: y, tape } = task.record(() => ops.linear(task, { x, w: parameters.get("w") }, {}));
  const got = await task.read(y);
  const want = Array.from({ length: 8 }, (_, i) => truth.reduce((sum, t, k) => sum + t * data[3 * i + k], 0));
  const cotangent = Float32Array.from(got, (value, i) => value - want[i]); // of ½ Σ (y − want)²
  parameters.zeroGradients();
  tape.backward(y, task.tensor(cotangent, y.shape));
  optimizer.step(0.05);
  if (step % 100 === 0)
    console.log("step", step, "error", 0.5 * cotangent.reduce((sum, d) => sum + d * d, 0));
}
console.log(
  "w",
  [...(await task.read(parameters.get("w")))].map((v) => v.toFixed(3)).join(" "),
  "truth",
  truth.join(" "),
);
optimizer.dispose();
parameters.dispose();
await device.close();
