/** A run of elements from one buffer into another (cache rows, snapshots): declaration. */
import { defineKernel } from "../kernel.ts";
import { lanes } from "../shared/elementwise.ts";
import { UNIT } from "../shared/units.both.ts";

export const copy = defineKernel({
  name: "copy",
  formula: "y[to + i] = x[from + i],  i < count",
  inputs: { x: "f32[N]" },
  inouts: { y: "f32[M]" },
  outputs: {},
  params: { from: "u32", to: "u32", count: "u32" },
  ranges: {
    from: ({ N }) => [0, N],
    to: ({ M }) => [0, M],
    count: ({ N, M }, { from, to }) => [0, Math.min(N - from, M - to)],
  },
  defaults: { from: 0, to: 0, count: 1 },
  webgpu: (_, { count }, context) => [{ source: "copy/copy.wgsl", groups: lanes(count, context) }],
  cpu: [{ export: "copy", units: (_, { count }) => Math.ceil(count / UNIT), grain: () => 8 }],
  reference({ x, y }, _, { from, to, count }) {
    y.set(x.subarray(from, from + count), to);
  },
  cost: (_, { count }) => ({ flops: 0, bytes: 8 * count }),
  tolerance: () => ({ rel: 0, abs: 0, why: "nothing is computed" }),
  random: { N: [1, 3, 64, 100], M: [1, 5, 63, 100] },
  cases: [
    { dims: { N: 10, M: 7 }, params: { from: 3, to: 2, count: 5 } },
    { dims: { N: 20_000, M: 21_000 }, params: { from: 0, to: 1000, count: 20_000 } },
    { dims: { N: 5000, M: 2049 }, params: { from: 2951, to: 0, count: 2049 } },
    { dims: { N: 4, M: 4 }, params: { count: 0 } },
  ],
});
