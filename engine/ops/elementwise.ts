/** Residual addition, SwiGLU, GeGLU, soft caps, dropout: one kernel each. */
import { accumulate, add as addKernel } from "../../kernels/add/add.ts";
import { dropout as dropoutKernel } from "../../kernels/dropout/dropout.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { geglu as gegluKernel, geglu_backward } from "../../kernels/geglu/geglu.ts";
import { soft_cap, soft_cap_backward } from "../../kernels/soft_cap/soft_cap.ts";
import { swiglu as swigluKernel, swiglu_backward } from "../../kernels/swiglu/swiglu.ts";
import { defineOp } from "../op.ts";
import type { Task } from "../task.ts";
import type { Tensor } from "../tensor.ts";

/** y = a + alpha · b, same shape; alpha is 1 if left out. */
export const add = defineOp({
  name: "add",
  inputs: ["a", "b"],
  differentiable: ["a", "b"],
  forward: (task, { a, b }, { alpha = 1 }: { readonly alpha?: number }) => ({
    output: task.run(addKernel, { a, b }, { alpha }).y,
    saved: {},
  }),
  vjp: (task, dy, _saved, { alpha = 1 }, wants) => ({
    a: wants.a ? dy : undefined,
    b: wants.b ? scaled(task, dy, alpha) : undefined,
  }),
  checks: [
    { inputs: { a: [3, 5], b: [3, 5] }, attributes: {} },
    { inputs: { a: [3, 5], b: [3, 5] }, attributes: { alpha: -0.22 } },
  ],
});

/** alpha · x, in memory of its own where alpha is not 1: others read x. */
function scaled(task: Task, x: Tensor, alpha: number): Tensor {
  if (alpha === 1) return x;
  const { y } = task.run(fill, {}, { value: 0 }, { into: { y: task.empty(x.shape) } });
  task.run(accumulate, { x, y }, { alpha });
  return y;
}

/** y = silu(gate) · up, same shape. Shazeer 2020, https://arxiv.org/abs/2002.05202 */
export const swiglu = defineOp({
  name: "swiglu",
  inputs: ["gate", "up"],
  differentiable: ["gate", "up"],
  cheap: true,
  forward: (task, { gate, up }, _: object) => ({
    output: task.run(swigluKernel, { gate, up }, {}).y,
    saved: { gate, up },
  }),
  vjp: (task, dy, { gate, up }) => {
    const { dgate, dup } = task.run(swiglu_backward, { dy, gate, up }, {});
    return { gate: dgate, up: dup };
  },
  checks: [{ inputs: { gate: [4, 7], up: [4, 7] }, attributes: {} }],
});

/**
 * y = gelu(gate) · up, same shape, with tanh's approximation of GELU (Hugging Face's `gelu_pytorch_tanh`).
 * Shazeer 2020, https://arxiv.org/abs/2002.05202; Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415
 */
export const geglu = defineOp({
  name: "geglu",
  inputs: ["gate", "up"],
  differentiable: ["gate", "up"],
  cheap: true,
  forward: (task, { gate, up }, _: object) => ({
    output: task.run(gegluKernel, { gate, up }, {}).y,
    saved: { gate, up },
  }),
  vjp: (task, dy, { gate, up }) => {
    const { dgate, dup } = task.run(geglu_backward, { dy, gate, up }, {});
    return { gate: dgate, up: dup };
  },
  checks: [{ inputs: { gate: [4, 7], up: [4, 7] }, attributes: {} }],
});

/** y = cap · tanh(x / cap) with cap > 0: a soft cap, as Gemma 2 has it, https://arxiv.org/abs/2408.00118, section 2. */
export const softCap = defineOp({
  name: "softCap",
  inputs: ["x"],
  differentiable: ["x"],
  forward: (task, { x }, { cap }: { readonly cap: number }) => {
    const { y } = task.run(soft_cap, { x }, { cap });
    return { output: y, saved: { y } };
  },
  vjp: (task, dy, { y }, { cap }) => ({ x: task.run(soft_cap_backward, { dy, y }, { cap }).dx }),
  checks: [
    { inputs: { x: [3, 5] }, attributes: { cap: 0.8 } },
    { inputs: { x: [2, 2] }, attributes: { cap: 30 } },
  ],
});

/** Which random words decide: key (seed, stream), counter (element, step). See engine/random.ts. */
export interface DropoutAttributes {
  readonly p: number;
  readonly seed: number;
  readonly stream: number;
  readonly step: number;
}

/** y = x · mask / (1 − p). The mask is a function of the attributes, so the backward makes it again. */
export const dropout = defineOp({
  name: "dropout",
  inputs: ["x"],
  differentiable: ["x"],
  forward: (task, { x }, attributes: DropoutAttributes) => ({
    output: task.run(dropoutKernel, { x }, { ...attributes }).y,
    saved: {},
  }),
  vjp: (task, dy, _saved, attributes) => ({
    x: task.run(dropoutKernel, { x: dy }, { ...attributes }).y,
  }),
  checks: [{ inputs: { x: [5, 9] }, attributes: { p: 0.3, seed: 7, stream: 1, step: 2 } }],
});
