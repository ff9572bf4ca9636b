/** Sums to few numbers: declarations. The partition is fixed, so any number of threads gives the same bits. */
import { defineKernel } from "../kernel.ts";
import { PARTS } from "./parts.both.ts";

/** Lanes of a workgroup that adds one part. */
const LANES = 64;
/** Test values with one that is not finite: it must show in the sum, where AdamW looks for it. */
const lasting = [NaN, Infinity].map((value) => ({
  dims: { N: 1000 },
  given: {
    what: `an x of ${value}`,
    values: {
      x: (random: { normal(): number }, { N }: { readonly N: number }): number[] =>
        Array.from({ length: N }, (_, i) => (i === 700 ? value : random.normal())),
    },
  },
}));

export const sum = defineKernel({
  name: "sum",
  formula: "y[0] = Σ_i x[i]",
  inputs: { x: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[1]" },
  params: {},
  defaults: {},
  webgpu: () => [{ source: "sum/sum.wgsl", groups: [1, 1, 1] }],
  cpu: [{ export: "sum", units: () => 1 }],
  reference({ x, y }) {
    y[0] = x.reduce((a, b) => a + b, 0);
  },
  cost: ({ N }) => ({ flops: N, bytes: 4 * N }),
  tolerance: ({ N }) => ({
    rel: 6e-8 * (Math.ceil(N / 256) + 8),
    abs: 6e-8 * (Math.ceil(N / 256) + 8) * Math.sqrt(N),
    why: "N/256 + 8 f32 additions one after another (WGSL), of partial sums of about sqrt(N) normal values",
  }),
  random: { N: [1, 2, 3, 5, 63, 64, 65, 255, 256, 257, 1025, 5000] },
  cases: [{ dims: { N: 100_000 } }, ...lasting],
});

export const sum_squares = defineKernel({
  name: "sum_squares",
  formula: `partial[i] = Σ x[j]² over the i-th of ${PARTS} runs of ceil(N/${PARTS}) elements; Σ_i partial[i] = Σ_j x[j]²`,
  inputs: { x: "f32[N]" },
  inouts: {},
  outputs: { partial: `f32[${PARTS}]` },
  params: {},
  defaults: {},
  webgpu: () => [{ source: "sum/sum_squares.wgsl", groups: [PARTS, 1, 1] }],
  cpu: [{ export: "sum_squares", units: () => PARTS, grain: () => 16 }],
  reference({ x, partial }, { N }) {
    const run = Math.ceil(N / PARTS);
    for (let i = 0; i < PARTS; i++) {
      partial[i] = x.subarray(i * run, (i + 1) * run).reduce((total, v) => total + v * v, 0);
    }
  },
  cost: ({ N }) => ({ flops: 2 * N, bytes: 4 * (N + PARTS) }),
  tolerance: ({ N }) => ({
    rel: 6e-8 * (Math.ceil(N / PARTS / LANES) + 8),
    abs: 1e-37,
    why: "a rounding each for the square, the N/256/64 additions of a lane and the 6 of the tree; no cancellation",
  }),
  random: { N: [1, 2, 3, 5, 63, 255, 256, 257, 1023, 1025, 5000] },
  cases: [{ dims: { N: 300_001 } }, { dims: { N: 70_000 }, scale: 1e4 }, ...lasting],
});
