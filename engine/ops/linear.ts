/**
 * Linear layers: y = x·wᵀ, and the same with a LoRA or a whole matrix beside it. Weights are (out, in), as Hugging Face stores them;
 * a frozen weight may be in any storage format and never gets a gradient.
 */
import { at } from "../../kernels/base/at.ts";
import { dropout as dropoutKernel } from "../../kernels/dropout/dropout.ts";
import { accumulate, add_row } from "../../kernels/add/add.ts";
import { fill } from "../../kernels/fill/fill.ts";
import {
  matmul_nn,
  matmul_nn_acc,
  matmul_nt,
  matmul_nt_acc,
  matmul_tn,
} from "../../kernels/matmul/matmul.ts";
import type { Task } from "../task.ts";
import { defineOp } from "../op.ts";
import type { Tensor } from "../tensor.ts";
import type { DropoutAttributes } from "./elementwise.ts";

/** y[T, out] = scale · x[T, in] · w[out, in]ᵀ; scale 1 unless given. */
export const linear = defineOp({
  name: "linear",
  inputs: ["x", "w"],
  differentiable: ["x", "w"],
  forward: (task, { x, w }, { scale: alpha = 1 }: { readonly scale?: number }) => ({
    output: task.run(matmul_nt, { a: x, w }, { alpha }).c,
    saved: { x, w },
  }),
  vjp: (task, dy, { x, w }, { scale: alpha = 1 }, wants) => ({
    x: wants.x ? task.run(matmul_nn, { a: dy, w }, { alpha }).c : undefined,
    w: wants.w ? task.run(matmul_tn, { a: dy, b: x }, { alpha }).c : undefined,
  }),
  checks: [
    { inputs: { x: [3, 4], w: [5, 4] }, attributes: {} },
    { inputs: { x: [3, 4], w: [5, 4] }, attributes: { scale: -0.3 } },
  ],
});

/** y[T, out] = x[T, out] + b[out]: the bias of a linear layer. */
export const addBias = defineOp({
  name: "addBias",
  inputs: ["x", "b"],
  differentiable: ["x", "b"],
  forward: (task, { x, b }, _: object) => ({
    output: task.run(add_row, { x, b }, {}).y,
    saved: {},
  }),
  vjp: (task, dy, _saved, _attributes, wants) => ({
    x: wants.x ? dy : undefined,
    b: wants.b ? sumOfRows(task, dy) : undefined,
  }),
  checks: [{ inputs: { x: [4, 5], b: [5] }, attributes: {} }],
});

/** Σ_t x[t, :] as [out, 1]: xᵀ times a column of ones. */
function sumOfRows(task: Task, x: Tensor): Tensor {
  const ones = task.run(fill, {}, { value: 1 }, { into: { y: task.empty([at(x.shape, 0), 1]) } }).y;
  return task.run(matmul_tn, { a: x, b: ones }, { alpha: 1 }).c;
}

export interface LoraAttributes {
  /** lora_alpha / rank. */
  readonly scale: number;
  /** On the adapter's input while training; null for none. */
  readonly dropout: DropoutAttributes | null;
}

/**
 * y[T, out] = x·wᵀ + scale · (drop(x)·Aᵀ)·Bᵀ with x [T, in], w [out, in], A [r, in], B [out, r].
 * Hu et al. 2021, https://arxiv.org/abs/2106.09685, eq. 3; dropout placed as peft places it.
 */
export const loraLinear = defineOp({
  name: "loraLinear",
  inputs: ["x", "w", "A", "B"],
  differentiable: ["x", "A", "B"],
  forward: (task, { x, w, A, B }, { scale, dropout }: LoraAttributes) => {
    const u = task.run(matmul_nt, { a: drop(task, x, dropout), w: A }, { alpha: 1 }).c; // [T, r]
    const y = task.run(matmul_nt, { a: x, w }, { alpha: 1 }).c;
    task.run(matmul_nt_acc, { a: u, w: B, c: y }, { alpha: scale });
    return { output: y, saved: { x, w, A, B, u } };
  },
  vjp: (task, dy, { x, w, A, B, u }, { scale, dropout }, wants) => {
    const du = task.run(matmul_nn, { a: dy, w: B }, { alpha: scale }).c; // [T, r]
    return {
      A: wants.A ? task.run(matmul_tn, { a: du, b: drop(task, x, dropout) }, { alpha: 1 }).c : undefined,
      B: wants.B ? task.run(matmul_tn, { a: dy, b: u }, { alpha: scale }).c : undefined,
      x: wants.x ? inputCotangent(task, dy, du, w, A, dropout) : undefined,
    };
  },
  checks: [
    { inputs: { x: [6, 4], w: [5, 4], A: [2, 4], B: [5, 2] }, attributes: { scale: 2, dropout: null } },
    {
      inputs: { x: [6, 4], w: [5, 4], A: [2, 4], B: [5, 2] },
      attributes: { scale: 0.5, dropout: { p: 0.25, seed: 3, stream: 9, step: 1 } },
    },
  ],
});

/** y[T, out] = x·(w + D)ᵀ with x [T, in], w [out, in] frozen in any format, D [out, in] in f32: what is learnt of a whole weight. */
export const deltaLinear = defineOp({
  name: "deltaLinear",
  inputs: ["x", "w", "D"],
  differentiable: ["x", "D"],
  forward: (task, { x, w, D }, _: object) => {
    const y = task.run(matmul_nt, { a: x, w }, { alpha: 1 }).c;
    task.run(matmul_nt_acc, { a: x, w: D, c: y }, { alpha: 1 });
    return { output: y, saved: { x, w, D } };
  },
  vjp: (task, dy, { x, w, D }, _, wants) => {
    const dx = wants.x ? task.run(matmul_nn, { a: dy, w }, { alpha: 1 }).c : undefined;
    if (dx) task.run(matmul_nn_acc, { a: dy, w: D, c: dx }, { alpha: 1 });
    return { x: dx, D: wants.D ? task.run(matmul_tn, { a: dy, b: x }, { alpha: 1 }).c : undefined };
  },
  checks: [{ inputs: { x: [6, 4], w: [5, 4], D: [5, 4] }, attributes: {} }],
});

function drop(task: Task, x: Tensor, attributes: DropoutAttributes | null): Tensor {
  return attributes ? task.run(dropoutKernel, { x }, { ...attributes }).y : x;
}

/** dx = dy·w + mask(du·A). */
function inputCotangent(
  task: Task,
  dy: Tensor,
  du: Tensor,
  w: Tensor,
  A: Tensor,
  attributes: DropoutAttributes | null,
): Tensor {
  const dx = task.run(matmul_nn, { a: dy, w }, { alpha: 1 }).c;
  if (attributes) {
    const through = drop(task, task.run(matmul_nn, { a: du, w: A }, { alpha: 1 }).c, attributes);
    task.run(accumulate, { x: through, y: dx }, { alpha: 1 });
  } else {
    task.run(matmul_nn_acc, { a: du, w: A, c: dx }, { alpha: 1 });
  }
  return dx;
}
