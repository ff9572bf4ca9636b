/** Residual addition, SwiGLU, soft caps, dropout: one kernel each. */
import { add as addKernel } from "../../kernels/add/add.ts";
import { dropout as dropoutKernel } from "../../kernels/dropout/dropout.ts";
import { soft_cap, soft_cap_backward } from "../../kernels/soft_cap/soft_cap.ts";
import { swiglu as swigluKernel, swiglu_backward } from "../../kernels/swiglu/swiglu.ts";
import { defineOp } from "../op.ts";

/** y = a + b, same shape. */
export const add = defineOp({
  name: "add",
  inputs: ["a", "b"],
  differentiable: ["a", "b"],
  forward: (task, { a, b }, _: object) => ({
    output: task.run(addKernel, { a, b }, {}).y,
    saved: {},
  }),
  vjp: (_task, dy, _saved, _attributes, wants) => ({
    a: wants.a ? dy : undefined,
    b: wants.b ? dy : undefined,
  }),
  checks: [{ inputs: { a: [3, 5], b: [3, 5] }, attributes: {} }],
});

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
