/** A soft cap and its gradient: declarations. Gemma 2, https://arxiv.org/abs/2408.00118, section 2. */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";
import { capRange, softCap, softCapSlope } from "../shared/soft_cap.ts";

const random = { N: [1, 2, 3, 5, 63, 64, 65, 255, 257, 1023, 1025, 5000] } as const;

export const soft_cap = defineKernel({
  name: "soft_cap",
  formula: "y = cap · tanh(x / cap)",
  inputs: { x: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[N]" },
  params: { cap: "f32" },
  ranges: { cap: capRange },
  defaults: { cap: 1.5 },
  webgpu: ({ N }, _, context) => [{ source: "soft_cap/soft_cap.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("soft_cap")],
  reference({ x, y }, { N }, { cap }) {
    for (let i = 0; i < N; i++) y[i] = softCap(at(x, i), cap);
  },
  cost: ({ N }) => ({ flops: 3 * N, bytes: 8 * N }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 1e-37,
    why: "tanh within 1.8e-7 of its value (CPU), near 0, too; two divisions within 2.5 ulp (WGSL); a GPU may flush subnormals",
  }),
  random,
  cases: [
    { dims: { N: 33 * 1536 } },
    { dims: { N: 5000 }, params: { cap: 30 }, scale: 40 }, // a model's logits
    { dims: { N: 1025 }, scale: 1e-4 },
    { dims: { N: 257 }, scale: 1e20 },
    { dims: { N: 257 }, scale: 0 },
  ],
});

export const soft_cap_backward = defineKernel({
  name: "soft_cap_backward",
  formula: "dx = dy · (1 − (y / cap)²)",
  inputs: { dy: "f32[N]", y: "f32[N]" },
  inouts: {},
  outputs: { dx: "f32[N]" },
  params: { cap: "f32" },
  ranges: { cap: capRange },
  defaults: { cap: 1.5 },
  webgpu: ({ N }, _, context) => [{ source: "soft_cap/soft_cap_backward.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("soft_cap_backward")],
  reference({ dy, y, dx }, { N }, { cap }) {
    for (let i = 0; i < N; i++) dx[i] = at(dy, i) * softCapSlope(at(y, i), cap);
  },
  cost: ({ N }) => ({ flops: 4 * N, bytes: 12 * N }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 4e-6,
    why: "1 − (y / cap)² cancels near ±cap: 4 ulp of 1 (a division within 2.5 ulp, WGSL, squared) times dy of up to 5",
  }),
  random,
  values: {
    /** Within the cap, to its ends. */
    y: (source, { N }, { cap }) =>
      Float32Array.from({ length: N }, () => softCap(4 * cap * source.normal(), cap)),
  },
  cases: [{ dims: { N: 33 * 1536 } }, { dims: { N: 5000 }, params: { cap: 30 } }],
});
