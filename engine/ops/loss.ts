/**
 * Losses fused with the output projection, over blocks of rows: [tokens, vocabulary] never exists. Each block's
 * logits are made, turned into their own gradient in place (of cross-entropy softmax − onehot), and folded into the gradient of the
 * hidden states at once, so the backward only scales rows.
 */
import { at } from "../../kernels/base/at.ts";
import { cross_entropy } from "../../kernels/cross_entropy/cross_entropy.ts";
import { kl_divergence } from "../../kernels/kl_divergence/kl_divergence.ts";
import { matmul_nn, matmul_nt } from "../../kernels/matmul/matmul.ts";
import { scale_rows } from "../../kernels/scale_rows/scale_rows.ts";
import { defineOp } from "../op.ts";
import type { Tensor } from "../tensor.ts";

/**
 * Rows a block: a multiple of 64, so that views of blocks are aligned on every device. A block's logits are at most 128 MiB,
 * which every WebGPU adapter binds (25 MB for SmolLM2).
 */
function rowsOfBlock(vocabulary: number): number {
  return vocabulary > 2 ** 18 ? 64 : 128;
}

export interface LinearCrossEntropyAttributes {
  /** Logits are scale · h·wᵀ (default 1). */
  readonly scale?: number;
  /** They become softcap · tanh(logits / softcap) before the softmax (Gemma 2, https://arxiv.org/abs/2408.00118); 0 = they stay. */
  readonly softcap?: number;
}

/**
 * nll[T] = −log softmax(cap(scale · h[T, D] · w[V, D]ᵀ))[targets[T]] in nats; a target below 0 is ignored (nll 0, no gradient).
 * The table is frozen, in any storage format; the gradient of h is only made when a tape records.
 */
export const linearCrossEntropy = defineOp({
  name: "linearCrossEntropy",
  inputs: ["h", "w", "targets"],
  differentiable: ["h"],
  forward: (task, { h, w, targets }, { scale = 1, softcap = 0 }: LinearCrossEntropyAttributes) => {
    const [T = 0, D = 0] = h.shape;
    const nll = task.empty([T], "f32", "nll");
    const withGradient = task.recorder !== null && h.requiresGrad;
    const dh = withGradient ? task.empty([T, D], "f32", "cross_entropy.dh") : null;
    const block = rowsOfBlock(at(w.shape, 0));
    for (let from = 0; from < T; from += block) {
      using _scope = task.scope();
      const to = Math.min(T, from + block);
      const logits = task.run(matmul_nt, { a: task.rows(h, from, to), w }, { alpha: scale }).c;
      task.run(
        cross_entropy,
        { targets: task.rows(targets, from, to), logits },
        { gradient: dh ? 1 : 0, softcap },
        { into: { nll: task.rows(nll, from, to) } },
      );
      if (dh)
        task.run(matmul_nn, { a: logits, w }, { alpha: scale }, { into: { c: task.rows(dh, from, to) } });
    }
    return { output: nll, saved: dh ? { dh } : {} };
  },
  vjp: (task, dy, { dh }) => ({ h: task.run(scale_rows, { x: dh, s: dy }, {}).y }),
  checks: [
    {
      inputs: { h: [5, 4], w: [7, 4], targets: Int32Array.of(0, 6, -1, 3, 3) },
      attributes: { scale: 0.5, softcap: 1.5 },
    },
    { inputs: { h: [5, 4], w: [7, 4], targets: Int32Array.of(0, 6, -1, 3, 3) }, attributes: {} },
    {
      inputs: { h: [130, 2], w: [3, 2], targets: Int32Array.from({ length: 130 }, (_, t) => t % 3) },
      attributes: {},
    },
  ],
});

/**
 * kl[T] = KL(p ‖ q) in nats, p = softmax(cap(scale · anchor[T, D] · w[V, D]ᵀ)) and q the same of h[T, D]: how far h's predictions are from
 * the anchor's, which are constants as the table is; the gradient of h only is made, and only when a tape records.
 */
export const linearDivergence = defineOp({
  name: "linearDivergence",
  inputs: ["h", "w", "anchor"],
  differentiable: ["h"],
  forward: (task, { h, w, anchor }, { scale = 1, softcap = 0 }: LinearCrossEntropyAttributes) => {
    const [T = 0, D = 0] = h.shape;
    const kl = task.empty([T], "f32", "kl");
    const withGradient = task.recorder !== null && h.requiresGrad;
    const dh = withGradient ? task.empty([T, D], "f32", "kl_divergence.dh") : null;
    const block = rowsOfBlock(at(w.shape, 0));
    for (let from = 0; from < T; from += block) {
      using _scope = task.scope();
      const to = Math.min(T, from + block);
      const logitsOf = (x: Tensor): Tensor =>
        task.run(matmul_nt, { a: task.rows(x, from, to), w }, { alpha: scale }).c;
      const logits = logitsOf(h);
      const into = { kl: task.rows(kl, from, to) };
      task.run(kl_divergence, { anchor: logitsOf(anchor), logits }, { softcap }, { into });
      if (dh)
        task.run(matmul_nn, { a: logits, w }, { alpha: scale }, { into: { c: task.rows(dh, from, to) } });
    }
    return { output: kl, saved: dh ? { dh } : {} };
  },
  vjp: (task, dy, { dh }) => ({ h: task.run(scale_rows, { x: dh, s: dy }, {}).y }),
  checks: [
    { inputs: { h: [5, 4], w: [7, 4], anchor: [5, 4] }, attributes: { scale: 0.5, softcap: 1.5 } },
    { inputs: { h: [5, 4], w: [7, 4], anchor: [5, 4] }, attributes: {} },
    { inputs: { h: [130, 2], w: [3, 2], anchor: [130, 2] }, attributes: {} },
  ],
});
