/** Residual addition, and accumulation in place: declarations. */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

const random = { N: [1, 2, 3, 5, 63, 64, 65, 255, 257, 1023, 1025, 5000] } as const;

export const add = defineKernel({
  name: "add",
  formula: "y = a + b",
  inputs: { a: "f32[N]", b: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[N]" },
  params: {},
  defaults: {},
  webgpu: ({ N }, _, context) => [{ source: "add/add.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("add")],
  reference({ a, b, y }, { N }) {
    for (let i = 0; i < N; i++) y[i] = at(a, i) + at(b, i);
  },
  cost: ({ N }) => ({ flops: N, bytes: 12 * N }),
  tolerance: () => ({ rel: 6e-8, abs: 1e-37, why: "one rounding, 2⁻²⁴; a GPU may flush subnormals" }),
  random,
  cases: [{ dims: { N: 33 * 576 } }, { dims: { N: 7 }, scale: 1e4 }],
});

export const accumulate = defineKernel({
  name: "accumulate",
  formula: "y += alpha · x",
  inputs: { x: "f32[N]" },
  inouts: { y: "f32[N]" },
  outputs: {},
  params: { alpha: "f32" },
  defaults: { alpha: 1 },
  webgpu: ({ N }, _, context) => [{ source: "add/accumulate.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("accumulate")],
  reference({ x, y }, { N }, { alpha }) {
    for (let i = 0; i < N; i++) y[i] = at(y, i) + alpha * at(x, i);
  },
  cost: ({ N }) => ({ flops: 2 * N, bytes: 12 * N }),
  tolerance: (_, { alpha }) => ({
    rel: 1.2e-7,
    abs: 4e-7 * Math.abs(alpha),
    why: "the product's rounding, of values up to 6, stays when the sum cancels",
  }),
  random,
  cases: [
    { dims: { N: 20_001 }, params: { alpha: -0.37 } },
    { dims: { N: 1 }, params: { alpha: 0 } },
  ],
});
