/** One value everywhere: declaration. */
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

export const fill = defineKernel({
  name: "fill",
  formula: "y = value",
  inputs: {},
  inouts: {},
  outputs: { y: "f32[N]" },
  params: { value: "f32" },
  defaults: { value: 0.7 },
  webgpu: ({ N }, _, context) => [{ source: "fill/fill.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("fill")],
  reference({ y }, _, { value }) {
    y.fill(value);
  },
  cost: ({ N }) => ({ flops: 0, bytes: 4 * N }),
  tolerance: () => ({ rel: 6e-8, abs: 0, why: "the value's own rounding, 2⁻²⁴" }),
  random: { N: [1, 2, 3, 5, 63, 65, 255, 257, 1023, 1025, 5000] },
  cases: [
    { dims: { N: 20_001 }, params: { value: 0 } },
    { dims: { N: 300 }, params: { value: -1e30 } },
  ],
});
