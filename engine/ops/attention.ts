/**
 * Causal grouped-query attention over explicit keys and values, in O(T) memory: the forward keeps one log-sum-exp a row,
 * the backward recomputes the scores from it. Dao 2023 (FlashAttention-2), https://arxiv.org/abs/2307.08691, algorithms 1, 2.
 */
import { at } from "../../kernels/base/at.ts";
import { attention as attentionKernel, attention_merge } from "../../kernels/attention/attention.ts";
import { attention_backward, attention_delta } from "../../kernels/attention/attention_backward.ts";
import { defineOp } from "../op.ts";
import type { Tensor } from "../tensor.ts";
import { rows } from "./view.ts";

export interface AttentionAttributes {
  /** Position of the first query among the keys. */
  readonly past: number;
  /** Sliding window in tokens; 0 = unlimited. */
  readonly window: number;
  /** Leading keys that stay visible outside the window (StreamingLLM, https://arxiv.org/abs/2309.17453). */
  readonly sinks: number;
  /** So many leading keys are constants (another pass computed them): their gradients are 0 and cost nothing. */
  readonly frozen?: number;
  /** Usually 1 / sqrt(E). */
  readonly scale: number;
  /** Scores s become softcap · tanh(s / softcap) before the softmax (Gemma 2, https://arxiv.org/abs/2408.00118); 0 = they stay. */
  readonly softcap?: number;
}

/** y[T, H, E] from q [T, H, E], k and v [S, G, E]; query head h reads key head ⌊h·G/H⌋. */
export const attention = defineOp({
  name: "attention",
  inputs: ["q", "k", "v"],
  differentiable: ["q", "k", "v"],
  forward: (task, { q, k, v }, { past, window, sinks, scale, softcap = 0 }: AttentionAttributes) => {
    const { y, lse } = task.run(attentionKernel, { q, k, v }, { past, window, sinks, scale, softcap });
    return { output: y, saved: { q, k, v, y, lse } };
  },
  vjp: (task, dy, { q, k, v, y, lse }, { past, window, sinks, frozen = 0, scale, softcap = 0 }, wants) => {
    const { delta } = task.run(attention_delta, { y, dy }, {});
    const constant = wants.k || wants.v ? frozen : at(k.shape, 0);
    const params = { past, window, sinks, frozen: constant, scale, softcap };
    const { dq, dk, dv } = task.run(attention_backward, { q, k, v, dy, lse, delta }, params);
    return { q: dq, k: dk, v: dv };
  },
  checks: [
    {
      inputs: { q: [4, 4, 3], k: [4, 2, 3], v: [4, 2, 3] },
      attributes: { past: 0, window: 0, sinks: 0, scale: 0.5 },
    },
    {
      inputs: { q: [3, 3, 4], k: [8, 1, 4], v: [8, 1, 4] },
      attributes: { past: 4, window: 3, sinks: 1, scale: 0.7 },
    },
    {
      inputs: { q: [4, 4, 3], k: [6, 2, 3], v: [6, 2, 3] },
      attributes: { past: 2, window: 3, sinks: 1, scale: 1, softcap: 1.5 },
    },
  ],
});

export interface JointAttributes extends Omit<AttentionAttributes, "sinks"> {
  /** Position of the first far query among the far keys; behind the last of them, it sees all. */
  readonly farPast: number;
}

/**
 * Attention over two sets of keys with one softmax: y[T, H, E] of queries q near k and v, in a window, and for the last N of them of
 * farQ [N, H, E] over farK and farV [S2, G, E], too. The backward of either part takes the lse and delta of both.
 */
export const jointAttention = defineOp({
  name: "jointAttention",
  inputs: ["q", "k", "v", "farQ", "farK", "farV"],
  differentiable: ["q", "k", "v", "farQ", "farK", "farV"],
  forward: (
    task,
    { q, k, v, farQ, farK, farV },
    { past, window, farPast, scale, softcap = 0 }: JointAttributes,
  ) => {
    const both = { sinks: 0, scale, softcap };
    const { y, lse } = task.run(attentionKernel, { q, k, v }, { past, window, ...both });
    const slots = { q: farQ, k: farK, v: farV };
    const { y: y2, lse: lse2 } = task.run(attentionKernel, slots, { past: farPast, window: 0, ...both });
    task.run(attention_merge, { y2, lse2, y, lse }, {});
    for (const part of [y2, lse2]) part.dispose();
    return { output: y, saved: { q, k, v, farQ, farK, farV, y, lse } };
  },
  vjp: (task, dy, saved, { past, window, farPast, frozen = 0, scale, softcap = 0 }, wants) => {
    const { q, k, v, farQ, farK, farV, y, lse } = saved;
    const { delta } = task.run(attention_delta, { y, dy }, {});
    const both = { sinks: 0, scale, softcap };
    const near = task.run(
      attention_backward,
      { q, k, v, dy, lse, delta },
      { past, window, frozen: wants.k || wants.v ? frozen : at(k.shape, 0), ...both },
    );
    const from = at(q.shape, 0) - at(farQ.shape, 0);
    const [farDy, farLse, farDelta] = [dy, lse, delta].map((x) => rows(x, { from })) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const far = task.run(
      attention_backward,
      { q: farQ, k: farK, v: farV, dy: farDy, lse: farLse, delta: farDelta },
      { past: farPast, window: 0, frozen: wants.farK || wants.farV ? frozen : at(farK.shape, 0), ...both },
    );
    return { q: near.dq, k: near.dk, v: near.dv, farQ: far.dq, farK: far.dk, farV: far.dv };
  },
  checks: [
    {
      inputs: { q: [5, 4, 3], k: [5, 2, 3], v: [5, 2, 3], farQ: [3, 4, 3], farK: [5, 2, 3], farV: [5, 2, 3] },
      attributes: { past: 0, window: 2, farPast: 0, scale: 0.5 },
    },
    {
      inputs: { q: [4, 3, 4], k: [8, 1, 4], v: [8, 1, 4], farQ: [4, 3, 4], farK: [2, 1, 4], farV: [2, 1, 4] },
      attributes: { past: 4, window: 3, farPast: 1, scale: 0.7 },
    },
    {
      inputs: { q: [4, 4, 3], k: [6, 2, 3], v: [6, 2, 3], farQ: [2, 4, 3], farK: [6, 2, 3], farV: [6, 2, 3] },
      attributes: { past: 1, window: 3, farPast: 0, scale: 1, softcap: 1.5 },
    },
  ],
});
