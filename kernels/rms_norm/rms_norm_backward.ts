/** The gradients of RMSNorm: declarations. With x̂ = x·rstd, dx = rstd·(g·dy − x̂·mean(g·dy·x̂)) and dg = Σ_r dy·x̂. */
import { at } from "../base/at.ts";
import { dot } from "../shared/float64.ts";
import { type CaseRandom, defineKernel, grid } from "../kernel.ts";
import { COLUMNS } from "./columns.both.ts";

const random = { R: [1, 2, 3, 5, 65], D: [1, 3, 7, 63, 64, 65, 127, 129, 576] } as const;
/** As rms_norm makes them from inputs of about unit variance. */
const rstd = (random: CaseRandom, { R }: { readonly R: number }): number[] =>
  Array.from({ length: R }, () => 0.5 + random.below(1024) / 1024);

export const rms_norm_backward_x = defineKernel({
  name: "rms_norm_backward_x",
  formula: "dx[r,d] = rstd[r]·(g[d]·dy[r,d] − x[r,d]·rstd[r]²·mean_d(g·dy·x))",
  inputs: { dy: "f32[R, D]", x: "f32[R, D]", g: "f32[D]", rstd: "f32[R]" },
  inouts: {},
  outputs: { dx: "f32[R, D]" },
  params: {},
  defaults: {},
  webgpu: ({ R }) => [{ source: "rms_norm/rms_norm_backward_x.wgsl", groups: grid(R) }],
  cpu: [{ export: "rms_norm_backward_x", units: ({ R }) => R, grain: () => 16 }],
  reference({ dy, x, g, rstd, dx }, { R, D }) {
    for (let r = 0; r < R; r++) {
      const scale = at(rstd, r);
      const scaled = g.map((factor, d) => factor * at(dy, r * D + d));
      const back = (scale ** 2 * dot(scaled, 0, x, r * D, D)) / D;
      for (let d = 0; d < D; d++) dx[r * D + d] = scale * (at(scaled, d) - at(x, r * D + d) * back);
    }
  },
  cost: ({ R, D }) => ({ flops: 8 * R * D, bytes: 4 * (3 * R * D + D + R) }),
  tolerance: ({ D }) => ({
    rel: 2e-6,
    abs: 2e-6 + 4e-5 / D,
    why: "a difference of terms of a few units, 4 roundings each; the mean's terms of up to 10² shrink with D",
  }),
  random,
  values: { rstd },
  cases: [{ dims: { R: 33, D: 576 } }, { dims: { R: 1, D: 1 } }],
});

export const rms_norm_backward_g = defineKernel({
  name: "rms_norm_backward_g",
  formula: "dg[d] = Σ_r dy[r,d]·x[r,d]·rstd[r]",
  inputs: { dy: "f32[R, D]", x: "f32[R, D]", rstd: "f32[R]" },
  inouts: {},
  outputs: { dg: "f32[D]" },
  params: {},
  defaults: {},
  webgpu: ({ D }) => [{ source: "rms_norm/rms_norm_backward_g.wgsl", groups: grid(Math.ceil(D / 64)) }],
  cpu: [{ export: "rms_norm_backward_g", units: ({ D }) => Math.ceil(D / COLUMNS) }],
  reference({ dy, x, rstd, dg }, { R, D }) {
    dg.fill(0);
    for (let r = 0; r < R; r++) {
      for (let d = 0; d < D; d++) dg[d] = at(dg, d) + at(dy, r * D + d) * at(x, r * D + d) * at(rstd, r);
    }
  },
  cost: ({ R, D }) => ({ flops: 3 * R * D, bytes: 4 * (2 * R * D + D + R) }),
  tolerance: ({ R }) => ({
    rel: 1e-6,
    abs: 1e-6 + 1e-7 * R,
    why: "R products added one after another in f32: partial sums of about sqrt(R), rounded R times",
  }),
  random,
  values: { rstd },
  cases: [{ dims: { R: 300, D: 576 } }, { dims: { R: 1, D: 1 } }],
});
