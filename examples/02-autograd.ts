/**
 * Autograd: a small network learns XOR by AdamW. A tape records the ops that run inside `record`, and walks them backward.
 * `npx tsx examples/02-autograd.ts`
 */
import {
  AdamW,
  Parameters,
  Task,
  linear,
  linearCrossEntropy,
  openDevice,
  record,
  swiglu,
} from "templora/engine";

await using device = await openDevice("cpu", { threads: 1 });
using task = new Task(device);
const HIDDEN = 8;
using parameters = new Parameters(device, [
  { name: "gate", shape: [HIDDEN, 3] },
  { name: "up", shape: [HIDDEN, 3] },
  { name: "down", shape: [4, HIDDEN] },
]);
const start = { gate: HIDDEN * 3, up: HIDDEN * 3, down: 4 * HIDDEN };
for (const [name, length] of Object.entries(start))
  parameters.set(
    name,
    Float32Array.from({ length }, (_, i) => Math.sin(7 * i + name.length)),
  );
using optimizer = new AdamW(task, parameters, {
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weight_decay: 0,
  clip: 1,
});

const inputs = [
  [0, 0, 1],
  [0, 1, 1],
  [1, 0, 1],
  [1, 1, 1],
]; // the last is the bias; prettier-ignore
const answers = Int32Array.of(0, 1, 1, 0);
const classes = Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0); // [2, 4]: the loss multiplies by an output layer; this fixed one takes the first two numbers

for (let step = 0; step <= 200; step++) {
  using _scope = task.scope(); // a step's tensors end with the step
  const x = task.tensor(inputs);
  const targets = task.tensor(answers);
  const head = task.tensor(classes, [2, 4]);
  const { result: nll, tape } = record(task, () => {
    const hidden = swiglu(linear(x, parameters.get("gate")), linear(x, parameters.get("up")));
    return linearCrossEntropy(linear(hidden, parameters.get("down")), head, targets); // −log p of each answer
  });
  optimizer.zeroGradients();
  tape.backward(nll, task.tensor([0.25, 0.25, 0.25, 0.25])); // of the mean
  optimizer.step(0.05);
  if (step % 50 === 0) {
    const loss = (await nll.data()).reduce((sum, value) => sum + value / 4, 0);
    console.log("step", step, "mean loss", loss.toFixed(4));
  }
}
