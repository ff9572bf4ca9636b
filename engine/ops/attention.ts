/**
 * Causal grouped-query attention over explicit keys and values, in O(T) memory: the forward keeps one log-sum-exp a row,
 * the backward recomputes the scores from it. Dao 2023 (FlashAttention-2), https://arxiv.org/abs/2307.08691, algorithms 1, 2.
 */
import { at } from "../../kernels/base/at.ts";
import { attention as attentionKernel } from "../../kernels/attention/attention.ts";
import { attention_backward, attention_delta } from "../../kernels/attention/attention_backward.ts";
import { defineOp } from "../op.ts";

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
