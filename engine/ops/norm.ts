/** RMSNorm. Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467, eq. 4. */
import { add } from "../../kernels/add/add.ts";
import { rms_norm } from "../../kernels/rms_norm/rms_norm.ts";
import { rms_norm_backward_g, rms_norm_backward_x } from "../../kernels/rms_norm/rms_norm_backward.ts";
import { defineOp } from "../op.ts";

/** y[T, D] = x / rms(x) · g[D]. */
export const rmsNorm = defineOp({
  name: "rmsNorm",
  inputs: ["x", "g"],
  differentiable: ["x", "g"],
  cheap: true,
  forward: (task, { x, g }, { eps }: { readonly eps: number }) => {
    const { y, rstd } = task.run(rms_norm, { x, g }, { eps });
    return { output: y, saved: { x, g, rstd } };
  },
  vjp: (task, dy, { x, g, rstd }, _attributes, wants) => ({
    x: wants.x ? task.run(rms_norm_backward_x, { dy, x, g, rstd }, {}).dx : undefined,
    g: wants.g ? task.run(rms_norm_backward_g, { dy, x, rstd }, {}).dg : undefined,
  }),
  checks: [{ inputs: { x: [3, 5], g: [5] }, attributes: { eps: 1e-5 } }],
});

/** y[T, D] = x / rms(x) · (g + d)[D]: a frozen gain, and what is learnt beside it. */
export const deltaNorm = defineOp({
  name: "deltaNorm",
  inputs: ["x", "g", "d"],
  differentiable: ["x", "d"],
  cheap: true,
  forward: (task, { x, g, d }, { eps }: { readonly eps: number }) => {
    const gain = task.run(add, { a: g, b: d }, { alpha: 1 }).y;
    const { y, rstd } = task.run(rms_norm, { x, g: gain }, { eps });
    return { output: y, saved: { x, g, d, gain, rstd } };
  },
  vjp: (task, dy, { x, gain, rstd }, _attributes, wants) => ({
    x: wants.x ? task.run(rms_norm_backward_x, { dy, x, g: gain, rstd }, {}).dx : undefined,
    d: wants.d ? task.run(rms_norm_backward_g, { dy, x, rstd }, {}).dg : undefined,
  }),
  checks: [{ inputs: { x: [3, 5], g: [5], d: [5] }, attributes: { eps: 1e-5 } }],
});
