/** Gathers the rows of the embedding table: declaration. */
import { at } from "../base/at.ts";
import { byteLength } from "../base/dtype.ts";
import { WIDEN_SCRATCH } from "../formats/widen.both.ts";
import { defineKernel, rowRuns } from "../kernel.ts";

export const embedding = defineKernel({
  name: "embedding",
  formula: "y[t,d] = scale · w[ids[t], d]; NaN for ids outside [0, V)",
  inputs: { ids: "i32[T]", w: "weight[V, D]" },
  inouts: {},
  outputs: { y: "f32[T, D]" },
  params: { scale: "f32" },
  ranges: { ids: ({ V }) => [0, V - 1] },
  outside: { ids: "the token's row of y is NaN" },
  defaults: { scale: 1 },
  webgpu: ({ T, V, D }, _params, context) =>
    rowRuns(V, D, context).map(({ from, count }) => ({
      source: "embedding/embedding.wgsl",
      parts: { w: [from * D, count * D] },
      extra: { first: from, count },
      groups: [Math.min(T, 65535), Math.ceil(T / 65535), 1],
    })),
  cpu: [{ export: "embedding", units: ({ T }) => T, grain: () => 64, scratch: () => WIDEN_SCRATCH }],
  reference({ ids, w, y }, { T, V, D }, { scale }) {
    for (let t = 0; t < T; t++) {
      const id = at(ids, t);
      const known = id >= 0 && id < V;
      for (let d = 0; d < D; d++) y[t * D + d] = known ? scale * at(w, id * D + d) : NaN;
    }
  },
  cost: ({ T, D }, { scale }, weight) => ({
    flops: scale === 1 ? 0 : T * D,
    bytes: 4 * T * (1 + D) + byteLength(weight, T * D),
  }),
  tolerance: (_, { scale }) => ({
    rel: scale === 1 ? 1.2e-7 : 1.8e-7,
    abs: 1e-12,
    why: "widening is exact but for q4_1's one rounding of d·q + m; a scale has its own rounding, and its product one",
  }),
  values: { ids: (random, { T, V }) => Array.from({ length: T }, () => random.below(V)) },
  random: { T: [1, 2, 7, 33, 129], V: [1, 2, 65], D: [1, 3, 31, 32, 64, 96, 256, 576] },
  cases: [
    { dims: { T: 130, V: 300, D: 576 } },
    { dims: { T: 1, V: 49, D: 576 } },
    { dims: { T: 5, V: 7, D: 63 }, scale: 1e-5 },
    { dims: { T: 5, V: 7, D: 512 } },
    { dims: { T: 5, V: 7, D: 96 }, params: { scale: Math.sqrt(96) } },
    { dims: { T: 5, V: 7, D: 63 }, params: { scale: 12 } },
  ],
});
