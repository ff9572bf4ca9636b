/**
 * The matrix products of a linear layer and its gradients: declaration.
 *   y = x·wᵀ is `nt`, dx = dy·w is `nn`, dw = dyᵀ·x is `tn`; `_acc` adds to what the output holds.
 * The weight may be stored in any weight dtype; it is widened inside, tile by tile, never as a whole.
 */
import { type WeightDType, byteLength } from "../base/dtype.ts";
import { defineKernel } from "../kernel.ts";
import { nn, nt, tn } from "./matmul.ref.ts";
import { plan } from "./matmul.webgpu.ts";
import { TILE_SCRATCH, dotScratch, dottedGrain, dottedUnits, tileCount } from "./tiles.both.ts";

type Layout = "nt" | "nn" | "tn";
interface Dims {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What the five declarations share: everything but the slots. */
function product(layout: Layout, accumulate: boolean) {
  const name = `matmul_${layout}${accumulate ? "_acc" : ""}`;
  const formula = { nt: "alpha · a · wᵀ", nn: "alpha · a · w", tn: "alpha · aᵀ · b" }[layout];
  /** How many products each output sums. */
  const depth = { nt: ({ K }: Dims) => K, nn: ({ N }: Dims) => N, tn: ({ M }: Dims) => M }[layout];
  const units = {
    nt: ({ M, N }: Dims) => dottedUnits(M, N),
    nn: ({ M, K }: Dims) => tileCount(M, K),
    tn: ({ N, K }: Dims) => tileCount(N, K),
  }[layout];
  return {
    name,
    formula: `c ${accumulate ? "+=" : "="} ${formula}`,
    params: { alpha: "f32" },
    defaults: { alpha: 1 },
    ...plan(layout, accumulate),
    cpu: [
      {
        export: name,
        units,
        grain: ({ M, N }: Dims) => (layout === "nt" ? dottedGrain(M, N) : 1),
        scratch: ({ K }: Dims) => Math.max(TILE_SCRATCH, dotScratch(K)),
      },
    ],
    cost: ({ M, N, K }: Dims, _params: unknown, weight: WeightDType) => {
      const a = layout === "nt" ? M * K : M * N;
      const b = layout === "tn" ? M * K : N * K;
      const c = layout === "nt" ? M * N : layout === "nn" ? M * K : N * K;
      const stored = layout === "tn" ? 4 * b : byteLength(weight, b);
      return { flops: 2 * M * N * K, bytes: 4 * (a + (accumulate ? 2 : 1) * c) + stored };
    },
    tolerance: (dims: Dims, { alpha }: { readonly alpha: number }) => ({
      rel: 1e-6,
      abs: 1.5e-7 * Math.abs(alpha) * depth(dims) + (accumulate ? 3e-7 : 0),
      why:
        "d normal products summed in turn: sums grow as √d, so their rounding errors add to 4e-8·d; ≤ 4 sigma" +
        (accumulate ? "; one more rounding where they cancel c" : ""),
    }),
    random: {
      M: [1, 2, 3, 4, 5, 7, 9, 33, 65],
      N: [1, 3, 4, 31, 32, 33, 64, 129],
      K: [1, 3, 32, 63, 64, 96, 192, 256, 512],
    },
    cases: [...(layout === "tn" ? tnCases : weightCases), deepCases[layout]].map(([M, N, K, alpha]) => ({
      dims: { M, N, K },
      params: { alpha },
    })),
  } as const;
}

/** [M, N, K, alpha]: SmolLM2's layers (hidden 576, k and v 192, mlp 1536), decoding, LoRA's ranks, block and tile edges. */
const weightCases = [
  [1, 67, 768, -1],
  [7, 67, 512, 1],
  [1, 576, 576, 1],
  [1, 192, 1536, 0.5],
  [1, 577, 576, 1],
  [2, 1536, 576, 1],
  [3, 65, 544, -2],
  [4, 192, 1056, 1],
  [5, 576, 576, 1],
  [127, 129, 128, 1],
  [129, 192, 576, 0.25],
  [64, 4, 576, 1],
  [64, 576, 4, 2],
  [130, 64, 576, 1],
  [130, 576, 64, 1],
  [257, 257, 32, 1],
  [33, 1536, 96, 1],
  [8, 8, 1023, 1],
  [17, 1025, 16, 1],
] as const;

/** Sums as long as the output layer's gradient has them (SmolLM2's vocabulary, longer than one chain). */
const deepCases = {
  nt: [5, 5, 30016, 1],
  nn: [5, 49152, 32, 1],
  tn: [30001, 5, 33, 1],
} as const;

const tnCases = [
  [1, 64, 576, 1],
  [257, 64, 576, 1],
  [512, 4, 576, 0.5],
  [300, 576, 64, 1],
  [385, 192, 65, -2],
  [33, 129, 127, 1],
] as const;

export const matmul_nt = defineKernel({
  ...product("nt", false),
  inputs: { a: "f32[M, K]", w: "weight[N, K]" },
  inouts: {},
  outputs: { c: "f32[M, N]" },
  reference: ({ a, w, c }, { M, N, K }, { alpha }) => nt(a, w, c, M, N, K, alpha, 0),
});

export const matmul_nt_acc = defineKernel({
  ...product("nt", true),
  inputs: { a: "f32[M, K]", w: "weight[N, K]" },
  inouts: { c: "f32[M, N]" },
  outputs: {},
  reference: ({ a, w, c }, { M, N, K }, { alpha }) => nt(a, w, c, M, N, K, alpha, 1),
});

export const matmul_nn = defineKernel({
  ...product("nn", false),
  inputs: { a: "f32[M, N]", w: "weight[N, K]" },
  inouts: {},
  outputs: { c: "f32[M, K]" },
  reference: ({ a, w, c }, { M, N, K }, { alpha }) => nn(a, w, c, M, N, K, alpha, 0),
});

export const matmul_nn_acc = defineKernel({
  ...product("nn", true),
  inputs: { a: "f32[M, N]", w: "weight[N, K]" },
  inouts: { c: "f32[M, K]" },
  outputs: {},
  reference: ({ a, w, c }, { M, N, K }, { alpha }) => nn(a, w, c, M, N, K, alpha, 1),
});

export const matmul_tn = defineKernel({
  ...product("tn", false),
  inputs: { a: "f32[M, N]", b: "f32[M, K]" },
  inouts: {},
  outputs: { c: "f32[N, K]" },
  reference: ({ a, b, c }, { M, N, K }, { alpha }) => tn(a, b, c, M, N, K, alpha, 0),
});
