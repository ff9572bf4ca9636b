/** RMSNorm: declaration. Zhang & Sennrich 2019, eq. 4, with eps inside the root as in Llama. */
import { at } from "../base/at.ts";
import { dot } from "../shared/float64.ts";
import { type CaseRandom, defineKernel } from "../kernel.ts";

const sizes = { R: [1, 2, 3, 5, 65], D: [1, 3, 7, 63, 64, 65, 127, 129, 576] } as const;

export const rms_norm = defineKernel({
  name: "rms_norm",
  formula:
    "y[r,d] = x[r,d] · rstd[r] · g[d],  rstd[r] = 1 / sqrt(mean_d x[r,d]² + eps); NaN where Σ_d x[r,d]² is beyond f32",
  inputs: { x: "f32[R, D]", g: "f32[D]" },
  inouts: {},
  outputs: { y: "f32[R, D]", rstd: "f32[R]" },
  params: { eps: "f32" },
  defaults: { eps: 1e-5 },
  webgpu: ({ R }) => [
    { source: "rms_norm/rms_norm.wgsl", groups: [Math.min(R, 65535), Math.ceil(R / 65535), 1] },
  ],
  cpu: [{ export: "rms_norm", units: ({ R }) => R, grain: () => 16 }],
  reference({ x, g, y, rstd }, { R, D }, { eps }) {
    for (let r = 0; r < R; r++) {
      const squares = dot(x, r * D, x, r * D, D);
      // else x · 0 would make an ordinary row of an overflow
      const scale = Number.isFinite(Math.fround(squares)) ? 1 / Math.sqrt(squares / D + eps) : NaN;
      rstd[r] = scale;
      for (let d = 0; d < D; d++) y[r * D + d] = at(x, r * D + d) * scale * at(g, d);
    }
  },
  cost: ({ R, D }) => ({ flops: 4 * R * D, bytes: 4 * (2 * R * D + D + R) }),
  tolerance: () => ({ rel: 4e-6, abs: 1e-7, why: "one f32 sum of D squares, a root and two products" }),
  random: sizes,
  cases: [
    { dims: { R: 1, D: 576 }, scale: 1e4 },
    { dims: { R: 33, D: 576 } },
    { dims: { R: 4, D: 64 }, scale: 1e-4 },
    ...[1e25, Infinity, NaN].map((large) => ({
      dims: { R: 3, D: 70 },
      given: {
        what: `${large} in row 1`,
        values: {
          x: (random: CaseRandom) =>
            Array.from({ length: 210 }, (_, i) => (i === 75 ? large : random.normal())),
        },
      },
    })),
  ],
});
