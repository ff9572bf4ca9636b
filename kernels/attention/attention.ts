/**
 * Causal grouped-query attention, forward, in O(T) memory: blocks of keys and an online softmax (Dao 2023,
 * "FlashAttention-2", algorithm 1). attention.ref.ts defines it; README.md tells how the versions came about.
 */
import { defineKernel } from "../kernel.ts";
import { attention as reference } from "./attention.ref.ts";
import { attentionCases, attentionCost, attentionRanges, validAttention } from "./attention.shapes.ts";
import { forwardPlan, forwardScratch } from "./attention.webgpu.ts";
import { FEW, QUERIES, forwardBytes } from "./blocks.both.ts";

export { attention_backward, attention_delta } from "./attention_backward.ts";
export { attention_merge } from "./attention_merge.ts";

export const attention = defineKernel({
  name: "attention",
  formula:
    "y_i = Σ_j softmax_j(s_ij) v_j over the visible j,  lse_i = log Σ_j exp(s_ij),  s_ij = scale · q_i·k_j, " +
    "with a softcap c: c · tanh(scale · q_i·k_j / c)",
  inputs: { q: "f32[T, H, E]", k: "f32[S, G, E]", v: "f32[S, G, E]" },
  inouts: {},
  outputs: { y: "f32[T, H, E]", lse: "f32[T, H]" },
  params: { past: "u32", window: "u32", sinks: "u32", scale: "f32", softcap: "f32" },
  ranges: attentionRanges,
  defaults: { past: 0, window: 0, sinks: 0, scale: 0.125, softcap: 0 },
  webgpu: forwardPlan,
  webgpuScratch: forwardScratch,
  cpu: [
    {
      export: "attention",
      units: ({ T, H }) => (T < FEW ? T : Math.ceil(T / QUERIES)) * H,
      scratch: ({ E }) => forwardBytes(E),
    },
  ],
  reference,
  cost: (dims, params) => attentionCost(dims, params, { products: 2, queryRows: 2, keyRows: 2 }),
  tolerance: () => ({
    rel: 1e-5,
    abs: 1e-5,
    why: "a weight's relative error is its score's absolute one (E f32 products); y is a mean of v ~ 1",
  }),
  random: {
    T: [1, 2, 3, 4, 7, 33, 65, 130],
    H: [1, 2, 3, 6],
    E: [1, 3, 12, 16, 64, 65],
    S: [1, 5, 65, 130, 200],
    G: [1, 2, 3],
  },
  valid: validAttention,
  cases: [
    ...attentionCases(),
    { dims: { H: 2, E: 64, G: 1, T: 70, S: 70 }, params: { scale: 4, softcap: 50 } },
    { dims: { H: 2, E: 64, G: 1, T: 1, S: 70 }, params: { past: 69, scale: 4, softcap: 50 } },
    // More keys than a few queries' workgroup takes at a time, and a head too wide for its memory
    { dims: { H: 2, E: 16, G: 1, T: 2, S: 2200 }, params: { past: 2150, scale: 0.25 } },
    {
      dims: { H: 2, E: 16, G: 1, T: 1, S: 1700 },
      params: { past: 1650, window: 1500, sinks: 3, scale: 0.25 },
    },
    { dims: { H: 1, E: 1500, G: 1, T: 2, S: 30 }, params: { past: 20, scale: 0.026 } },
  ],
});
