/**
 * GeGLU with tanh's approximation of GELU (Hugging Face's `gelu_pytorch_tanh`), and its gradient: declarations. Shazeer 2020,
 * https://arxiv.org/abs/2002.05202, eq. 6 without the products; Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415, §2.
 * The devices compute ½·(1 + tanh u) as the sigmoid of 2u, which is the same and cancels nothing; the references keep to tanh.
 */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

const random = { N: [1, 2, 3, 5, 63, 64, 65, 255, 257, 1023, 1025, 1536, 5000] } as const;

/** s = ½·(1 + tanh u), and ds/dg. */
function half(g: number): [s: number, slope: number] {
  const root = Math.sqrt(2 / Math.PI);
  const tanh = Math.tanh(root * (g + 0.044715 * g ** 3));
  return [0.5 * (1 + tanh), 0.5 * (1 - tanh ** 2) * root * (1 + 3 * 0.044715 * g ** 2)];
}

/** From the least to the greatest f32, and where e^−2u leaves f32's range. */
const extremes = [3.4e38, 1e25, 1e13, 1e6, 40, 12, 11, 10.5, 10, 9, 6, 4, 1e-20, 0].flatMap((g) => [g, -g]);
const givenGates = (gates: readonly number[]) => ({
  dims: { N: gates.length },
  given: {
    what: "gates from the least to the greatest",
    values: {
      gate: () => gates,
      up: () => gates.map((_, i) => (i % 3 === 0 ? -0.75 : 0.5)),
      dy: () => gates.map((_, i) => (i % 5 === 0 ? -0.5 : 0.75)),
    },
  },
});
const extreme = givenGates(extremes);
/** Fewer than two vectors: all of it is a tail. */
const tail = givenGates([...extremes.slice(0, 2), ...extremes.slice(8, 10), 10.5, -10.5, 1e13]);

export const geglu = defineKernel({
  name: "geglu",
  formula: "y = gelu(gate) · up,  gelu(g) = ½·g·(1 + tanh u),  u = √(2/π)·(g + 0.044715·g³)",
  inputs: { gate: "f32[N]", up: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[N]" },
  params: {},
  defaults: {},
  webgpu: ({ N }, _, context) => [{ source: "geglu/geglu.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("geglu")],
  reference({ gate, up, y }, { N }) {
    for (let i = 0; i < N; i++) y[i] = at(gate, i) * half(at(gate, i))[0] * at(up, i);
  },
  cost: ({ N }) => ({ flops: 12 * N, bytes: 12 * N }),
  tolerance: () => ({
    rel: 2e-6,
    abs: 1e-6,
    why: "as swiglu: e^−2u within 3 + 2|2u| ulp, and 2u within 2 ulp, which count where e^−2u is not small beside 1",
  }),
  random,
  cases: [
    { dims: { N: 4096 }, scale: 30 },
    { dims: { N: 100 }, scale: 1e-4 },
    { dims: { N: 33 * 1536 } },
    extreme,
    tail,
  ],
});

export const geglu_backward = defineKernel({
  name: "geglu_backward",
  formula: "s = ½·(1 + tanh u);  dup = dy·gate·s;  dgate = dy·up·(s + gate·s'),  s' = ½·(1 − tanh² u)·u'",
  inputs: { dy: "f32[N]", gate: "f32[N]", up: "f32[N]" },
  inouts: {},
  outputs: { dgate: "f32[N]", dup: "f32[N]" },
  params: {},
  defaults: {},
  webgpu: ({ N }, _, context) => [{ source: "geglu/geglu_backward.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("geglu_backward")],
  reference({ dy, gate, up, dgate, dup }, { N }) {
    for (let i = 0; i < N; i++) {
      const g = at(gate, i);
      const [s, slope] = half(g);
      dup[i] = at(dy, i) * g * s;
      dgate[i] = at(dy, i) * at(up, i) * (s + g * slope);
    }
  },
  cost: ({ N }) => ({ flops: 24 * N, bytes: 20 * N }),
  tolerance: () => ({
    rel: 3e-6,
    abs: 3e-6,
    why: "as geglu; s + gate·s' cancels near gate = −0.75, where factors of up to 10 stand before it",
  }),
  random,
  cases: [{ dims: { N: 100 }, scale: 1e-4 }, { dims: { N: 33 * 1536 } }, extreme, tail],
});
