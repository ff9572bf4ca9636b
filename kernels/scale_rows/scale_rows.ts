/** One factor a row: declaration. */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { lanes } from "../shared/elementwise.ts";

export const scale_rows = defineKernel({
  name: "scale_rows",
  formula: "y[r,d] = x[r,d] · s[r]",
  inputs: { x: "f32[R, D]", s: "f32[R]" },
  inouts: {},
  outputs: { y: "f32[R, D]" },
  params: {},
  defaults: {},
  webgpu: ({ R, D }, _, context) => [{ source: "scale_rows/scale_rows.wgsl", groups: lanes(R * D, context) }],
  cpu: [{ export: "scale_rows", units: ({ R }) => R, grain: () => 16 }],
  reference({ x, s, y }, { R, D }) {
    for (let r = 0; r < R; r++) {
      for (let d = 0; d < D; d++) y[r * D + d] = at(x, r * D + d) * at(s, r);
    }
  },
  cost: ({ R, D }) => ({ flops: R * D, bytes: 4 * (2 * R * D + R) }),
  tolerance: () => ({ rel: 6e-8, abs: 1e-37, why: "one rounding, 2⁻²⁴; a GPU may flush subnormals" }),
  random: { R: [1, 2, 3, 65], D: [1, 3, 7, 63, 64, 65, 129, 576] },
  cases: [{ dims: { R: 130, D: 576 } }],
});
