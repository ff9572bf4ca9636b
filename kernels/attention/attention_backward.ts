/**
 * The gradient of attention, recomputed from lse in blocks (Dao 2023, "FlashAttention-2", algorithm 2), in
 * three kernels: delta_i = y_i·dy_i; dq by owners of queries; dk and dv by owners of keys, without atomics.
 */
import { defineKernel } from "../kernel.ts";
import {
  type AttentionDims,
  type AttentionParams,
  attentionBackwardKV,
  attentionBackwardQ,
  attentionDelta,
  visiblePairs,
} from "./attention.ref.ts";
import {
  KEYS,
  QUERIES,
  STATE_BYTES,
  attentionCases,
  attentionCost,
  panelBytes,
  validAttention,
} from "./attention.shapes.ts";
import {
  backwardKVPlan,
  backwardKVScratch,
  backwardQPlan,
  backwardQScratch,
  deltaPlan,
} from "./attention.webgpu.ts";

export const attention_delta = defineKernel({
  name: "attention_delta",
  formula: "delta[t,h] = Σ_d y[t,h,d] · dy[t,h,d]",
  folder: new URL("./", import.meta.url),
  inputs: { y: "f32[T, H, D]", dy: "f32[T, H, D]" },
  inouts: {},
  outputs: { delta: "f32[T, H]" },
  params: {},
  defaults: {},
  webgpu: deltaPlan,
  cpu: [{ export: "attention_delta", units: ({ T, H }) => T * H, grain: () => 128 }],
  reference: attentionDelta,
  cost: ({ T, H, D }) => ({ flops: 2 * T * H * D, bytes: 4 * T * H * (2 * D + 1) }),
  tolerance: ({ D }) => ({
    rel: 1e-6,
    abs: 1e-6 * Math.sqrt(D),
    why: "one f32 sum of D products that may cancel",
  }),
  random: { T: [1, 2, 33], H: [1, 3, 9], D: [1, 3, 12, 64, 65, 127] },
  cases: [{ dims: { T: 130, H: 9, D: 64 } }],
});

const inputs = {
  q: "f32[T, H, D]",
  k: "f32[S, G, D]",
  v: "f32[S, G, D]",
  dy: "f32[T, H, D]",
  lse: "f32[T, H]",
  delta: "f32[T, H]",
} as const;
const params = { past: "u32", window: "u32", sinks: "u32", scale: "f32" } as const;
const defaults = { past: 0, window: 0, sinks: 0, scale: 0.125 };
const random = {
  T: [1, 2, 7, 33, 65, 130],
  H: [1, 2, 3, 6],
  D: [1, 3, 12, 16, 64, 65],
  S: [1, 5, 65, 130, 200],
  G: [1, 2, 3],
};
const values = {
  /** What equal scores would give, a little off: the weights then sum to about 1, as they do in a model. */
  lse: (source: { normal(): number }, { T, H }: AttentionDims, p: AttentionParams) =>
    Float32Array.from({ length: T * H }, (_, n) => {
      const past = p.past + Math.floor(n / H);
      return Math.log(visiblePairs({ T: 1 }, { ...p, past })) + 0.3 + 0.1 * source.normal();
    }),
};

export const attention_backward_q = defineKernel({
  name: "attention_backward_q",
  formula:
    "dq_i = scale Σ_j dS_ij k_j,  dS_ij = P_ij (dy_i·v_j − delta_i),  P_ij = exp(scale · q_i·k_j − lse_i)",
  folder: new URL("./", import.meta.url),
  inputs,
  inouts: {},
  outputs: { dq: "f32[T, H, D]" },
  params,
  defaults,
  webgpu: backwardQPlan,
  webgpuScratch: backwardQScratch,
  cpu: [
    {
      export: "attention_backward_q",
      units: ({ T, H }) => Math.ceil(T / QUERIES) * H,
      scratch: ({ D }) => (QUERIES / 8) * (3 * panelBytes(D) + STATE_BYTES) + 2 * 32 * KEYS,
    },
  ],
  reference: attentionBackwardQ,
  cost: (dims, p) => attentionCost(dims, p, { products: 3, queryRows: 3, keyRows: 2 }),
  tolerance: ({ D }) => ({
    rel: 1e-5,
    abs: 2e-6 * Math.sqrt(D),
    why: "dS has P's relative error (its score's absolute one) and D products of dy·v; a mean over keys",
  }),
  random,
  values,
  valid: validAttention,
  cases: attentionCases(),
});

export const attention_backward_kv = defineKernel({
  name: "attention_backward_kv",
  formula: "dk_j = scale Σ_i dS_ij q_i,  dv_j = Σ_i P_ij dy_i  over the queries that see j, of all its heads",
  folder: new URL("./", import.meta.url),
  inputs,
  inouts: {},
  outputs: { dk: "f32[S, G, D]", dv: "f32[S, G, D]" },
  params,
  defaults,
  webgpu: backwardKVPlan,
  webgpuScratch: backwardKVScratch,
  cpu: [
    {
      export: "attention_backward_kv",
      units: ({ S, G }) => Math.ceil(S / KEYS) * G,
      scratch: ({ D }) => (KEYS / 8) * 4 * panelBytes(D) + 64 + 2 * 32 * QUERIES,
    },
  ],
  reference: attentionBackwardKV,
  cost: (dims, p) => attentionCost(dims, p, { products: 4, queryRows: 2, keyRows: 4 }),
  tolerance: ({ D, H, G }) => ({
    rel: 1e-5,
    abs: 2e-6 * Math.sqrt((D * H) / G),
    why: "as for dq, summed over the queries that see the key and the heads that share it",
  }),
  random,
  values,
  valid: validAttention,
  cases: attentionCases(),
});
