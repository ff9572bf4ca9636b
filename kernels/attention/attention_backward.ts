/**
 * The gradient of attention, recomputed from lse in blocks (Dao 2023, "FlashAttention-2", algorithm 2): first
 * delta_i = y_i·dy_i, then dq, dk and dv, without atomics. README.md tells who owns which sums.
 */
import { anyLength, defineKernel } from "../kernel.ts";
import {
  type AttentionDims,
  attentionBackward,
  type Span,
  attentionDelta,
  frozenPairs,
  visiblePairs,
} from "./attention.ref.ts";
import {
  attentionCases,
  attentionCost,
  backwardUnits,
  attentionRanges,
  partsBytes,
  validAttention,
} from "./attention.shapes.ts";
import { backwardPlan, backwardScratch, deltaPlan } from "./attention.webgpu.ts";
import { KEYS, backwardBytes } from "./blocks.both.ts";

export const attention_delta = defineKernel({
  name: "attention_delta",
  formula: "delta[t,h] = Σ_d y[t,h,d] · dy[t,h,d]",
  inputs: { y: "f32[T, H, E]", dy: "f32[T, H, E]" },
  inouts: {},
  outputs: { delta: "f32[T, H]" },
  params: {},
  defaults: {},
  webgpu: deltaPlan,
  cpu: [{ export: "attention_delta", units: ({ T, H }) => T * H, grain: () => 128 }],
  reference: attentionDelta,
  cost: ({ T, H, E }) => ({ flops: 2 * T * H * E, bytes: 4 * T * H * (2 * E + 1) }),
  tolerance: ({ E }) => ({
    rel: 1e-6,
    abs: 1e-6 * Math.sqrt(E),
    why: "one f32 sum of E products that may cancel",
  }),
  random: { T: [1, 2, 33], H: [1, 3, 9], E: [1, 3, 12, 64, 65, 127] },
  cases: [{ dims: { T: 130, H: 9, E: 64 } }],
});

export const attention_backward = defineKernel({
  name: "attention_backward",
  formula:
    "dq_i = scale Σ_j dS_ij k_j,  dk_j = scale Σ_i dS_ij q_i,  dv_j = Σ_i P_ij dy_i,  " +
    "dS_ij = P_ij (dy_i·v_j − delta_i) (1 − (s_ij / softcap)²),  P_ij = exp(s_ij − lse_i),  s_ij as in attention",
  inputs: {
    q: "f32[T, H, E]",
    k: "f32[S, G, E]",
    v: "f32[S, G, E]",
    dy: "f32[T, H, E]",
    lse: "f32[T, H]",
    delta: "f32[T, H]",
  },
  inouts: {},
  outputs: { dq: "f32[T, H, E]", dk: "f32[S, G, E]", dv: "f32[S, G, E]" },
  params: { past: "u32", window: "u32", sinks: "u32", frozen: "u32", scale: "f32", softcap: "f32" },
  ranges: { ...attentionRanges, frozen: anyLength },
  defaults: { past: 0, window: 0, sinks: 0, frozen: 0, scale: 0.125, softcap: 0 },
  webgpu: backwardPlan,
  webgpuScratch: backwardScratch,
  cpu: [
    {
      export: "attention_backward",
      units: backwardUnits,
      scratch: ({ E }) => backwardBytes(E),
    },
    { export: "attention_backward_sum", units: ({ S, G }) => Math.ceil(S / KEYS) * G },
  ],
  cpuShared: partsBytes,
  reference: attentionBackward,
  cost(dims, params) {
    const { flops, bytes } = attentionCost(dims, params, { products: 5, queryRows: 3, keyRows: 4 });
    return { flops: flops - 4 * dims.E * dims.H * frozenPairs(dims, params), bytes };
  },
  tolerance: ({ E, H, G }) => ({
    rel: 1e-5,
    abs: 2e-6 * Math.sqrt((E * H) / G),
    why: "dS has P's relative error (its score's absolute one) and E products of dy·v; sums over keys, queries and heads",
  }),
  random: {
    T: [1, 2, 7, 33, 65, 130],
    H: [1, 2, 3, 6],
    E: [1, 3, 12, 16, 64, 65],
    S: [1, 5, 65, 130, 200],
    G: [1, 2, 3],
  },
  values: {
    /** What equal scores would give, a little off: the weights then sum to about 1, as they do in a model. */
    lse: (source: { normal(): number }, { T, H, S }: AttentionDims, p: Span) =>
      Float32Array.from({ length: T * H }, (_, n) => {
        const past = p.past + Math.floor(n / H);
        return Math.log(visiblePairs({ T: 1, S }, { ...p, past })) + 0.3 + 0.1 * source.normal();
      }),
  },
  valid: validAttention,
  cases: [
    ...attentionCases(),
    { dims: { H: 9, E: 64, G: 3, T: 70, S: 160 }, params: { past: 60, frozen: 60 } },
    { dims: { H: 2, E: 12, G: 2, T: 150, S: 170 }, params: { past: 20, window: 33, sinks: 5, frozen: 37 } },
    { dims: { H: 2, E: 12, G: 1, T: 140, S: 150 }, params: { past: 3, window: 20, sinks: 30, frozen: 7 } },
    { dims: { H: 4, E: 16, G: 1, T: 300, S: 310 }, params: { past: 3, frozen: 131 } },
    { dims: { H: 2, E: 8, G: 1, T: 9, S: 40 }, params: { past: 20, frozen: 200 } },
    { dims: { H: 2, E: 12, G: 1, T: 70, S: 80 }, params: { past: 3, frozen: 63, scale: 0.3 } },
    { dims: { H: 4, E: 16, G: 2, T: 170, S: 90 }, params: { past: 40, frozen: 20 } },
    {
      dims: { H: 4, E: 16, G: 2, T: 150, S: 170 },
      params: { past: 20, window: 33, sinks: 5, frozen: 37, scale: 1, softcap: 1.2 },
    },
  ],
});
