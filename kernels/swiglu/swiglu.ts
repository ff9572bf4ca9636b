/** SwiGLU and its gradient: declarations. Shazeer 2020, https://arxiv.org/abs/2002.05202, eq. 6 without the products. */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

const random = { N: [1, 2, 3, 5, 63, 64, 65, 255, 257, 1023, 1025, 1536, 5000] } as const;

export const swiglu = defineKernel({
  name: "swiglu",
  formula: "y = silu(gate) · up,  silu(g) = g / (1 + e^−g)",
  inputs: { gate: "f32[N]", up: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[N]" },
  params: {},
  defaults: {},
  webgpu: ({ N }, _, context) => [{ source: "swiglu/swiglu.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("swiglu")],
  reference({ gate, up, y }, { N }) {
    for (let i = 0; i < N; i++) y[i] = (at(gate, i) / (1 + Math.exp(-at(gate, i)))) * at(up, i);
  },
  cost: ({ N }) => ({ flops: 6 * N, bytes: 12 * N }),
  tolerance: () => ({
    rel: 2e-6,
    abs: 1e-6,
    why: "e^x within 3 + 2|x| ulp (WGSL; 2 ulp on the CPU), which counts where e^−g is not small beside 1; 4 roundings",
  }),
  random,
  cases: [{ dims: { N: 4096 }, scale: 30 }, { dims: { N: 100 }, scale: 1e-4 }, { dims: { N: 33 * 1536 } }],
});

export const swiglu_backward = defineKernel({
  name: "swiglu_backward",
  formula: "s = 1 / (1 + e^−gate);  dup = dy·gate·s;  dgate = dy·up·s·(1 + gate·(1 − s))",
  inputs: { dy: "f32[N]", gate: "f32[N]", up: "f32[N]" },
  inouts: {},
  outputs: { dgate: "f32[N]", dup: "f32[N]" },
  params: {},
  defaults: {},
  webgpu: ({ N }, _, context) => [{ source: "swiglu/swiglu_backward.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("swiglu_backward")],
  reference({ dy, gate, up, dgate, dup }, { N }) {
    for (let i = 0; i < N; i++) {
      const g = at(gate, i);
      const s = 1 / (1 + Math.exp(-g));
      dup[i] = at(dy, i) * g * s;
      dgate[i] = at(dy, i) * at(up, i) * s * (1 + g * (1 - s));
    }
  },
  cost: ({ N }) => ({ flops: 12 * N, bytes: 20 * N }),
  tolerance: () => ({
    rel: 3e-6,
    abs: 3e-6,
    why: "as swiglu; 1 + gate·(1 − s) cancels near gate = −1.28, where factors of up to 10 stand before it",
  }),
  random,
  cases: [{ dims: { N: 100 }, scale: 1e-4 }, { dims: { N: 33 * 1536 } }],
});
