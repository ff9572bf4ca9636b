/**
 * One softmax over two sets of keys, from the attention over each: the weights of a set's own mean are e^lse, so that nothing is
 * computed again. How FlashAttention's blocks become one (Dao 2023, https://arxiv.org/abs/2307.08691, section 2.2).
 */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { mergePlan } from "./attention.webgpu.ts";

export const attention_merge = defineKernel({
  name: "attention_merge",
  formula:
    "of the last N queries: lse ← log(e^lse + e^lse2),  y ← e^(lse before − lse) y + e^(lse2 − lse) y2",
  inputs: { y2: "f32[N, H, E]", lse2: "f32[N, H]" },
  inouts: { y: "f32[T, H, E]", lse: "f32[T, H]" },
  outputs: {},
  params: {},
  defaults: {},
  webgpu: mergePlan,
  cpu: [{ export: "attention_merge", units: ({ N, H }) => N * H, grain: () => 128 }],
  reference({ y2, lse2, y, lse }, { N, H, E, T }) {
    for (let n = 0; n < N * H; n++) {
      const r = (T - N) * H + n;
      const [one, two] = [at(lse, r), at(lse2, n)];
      const top = Math.max(one, two);
      const all = top + Math.log(Math.exp(one - top) + Math.exp(two - top));
      for (let d = 0; d < E; d++)
        y[r * E + d] = Math.exp(one - all) * at(y, r * E + d) + Math.exp(two - all) * at(y2, n * E + d);
      lse[r] = all;
    }
  },
  // a row's two exponentials, logarithm and the five operations between them count as one each
  cost: ({ N, H, E }) => ({ flops: N * H * (3 * E + 8), bytes: 4 * N * H * (3 * E + 3) }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 3e-6,
    why: "a weight's relative error is that of lse2 − lse, a few roundings of numbers below 8; y and y2 may cancel",
  }),
  random: { N: [1, 2, 33], H: [1, 3, 9], E: [1, 3, 12, 64, 65], T: [1, 2, 33, 65] },
  valid: ({ N, T }) => N <= T,
  cases: [
    { dims: { N: 130, H: 9, E: 64, T: 150 } },
    { dims: { N: 5, H: 2, E: 16, T: 7 }, scale: 40 }, // one side alone
  ],
});
