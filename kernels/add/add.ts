/** Residual addition, accumulation in place, and the addition of a bias to rows: declarations. */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

const random = { N: [1, 2, 3, 5, 63, 64, 65, 255, 257, 1023, 1025, 5000] } as const;

const oneRounding = { rel: 6e-8, abs: 1e-37, why: "one rounding, 2⁻²⁴; a GPU may flush subnormals" } as const;

export const add = defineKernel({
  name: "add",
  formula: "y = a + alpha · b",
  inputs: { a: "f32[N]", b: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[N]" },
  params: { alpha: "f32" },
  defaults: { alpha: 1 },
  webgpu: ({ N }, _, context) => [{ source: "add/add.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("add")],
  reference({ a, b, y }, { N }, { alpha }) {
    for (let i = 0; i < N; i++) y[i] = at(a, i) + alpha * at(b, i);
  },
  cost: ({ N }, { alpha }) => ({ flops: alpha === 1 ? N : 2 * N, bytes: 12 * N }),
  tolerance: (_, { alpha }) =>
    alpha === 1
      ? oneRounding
      : {
          rel: 1.2e-7,
          abs: 8e-7 * Math.abs(alpha),
          why: "alpha's rounding and the product's, of values up to 6, stay when the sum cancels",
        },
  random,
  cases: [
    { dims: { N: 33 * 576 } },
    { dims: { N: 7 }, scale: 1e4 },
    { dims: { N: 20_001 }, params: { alpha: -0.22 } },
    { dims: { N: 5 }, params: { alpha: 0 } },
  ],
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

export const add_row = defineKernel({
  name: "add_row",
  formula: "y[r,n] = x[r,n] + b[n]",
  inputs: { x: "f32[R, N]", b: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[R, N]" },
  params: {},
  defaults: {},
  webgpu: ({ R, N }, _, context) => [{ source: "add/add_row.wgsl", groups: lanes(R * N, context) }],
  cpu: [{ export: "add_row", units: ({ R }) => R, grain: () => 16 }],
  reference({ x, b, y }, { R, N }) {
    for (let r = 0; r < R; r++) {
      for (let n = 0; n < N; n++) y[r * N + n] = at(x, r * N + n) + at(b, n);
    }
  },
  cost: ({ R, N }) => ({ flops: R * N, bytes: 4 * (2 * R * N + N) }),
  tolerance: () => oneRounding,
  random: { R: [1, 2, 3, 65], N: [1, 3, 7, 63, 64, 65, 129, 576] },
  cases: [{ dims: { R: 130, N: 576 } }, { dims: { R: 1, N: 1 } }],
});
