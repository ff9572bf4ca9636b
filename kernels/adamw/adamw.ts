/**
 * AdamW with global-norm clipping: declaration. Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101, in the order
 * of torch.optim.AdamW; clipping as in torch.nn.utils.clip_grad_norm_ (hence its 1e-6).
 */
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

export const adamw = defineKernel({
  name: "adamw",
  formula:
    "g' = g·min(1, clip/(√norm2 + 1e-6)); p −= lr·weight_decay·p; m = β1·m + (1−β1)·g'; v = β2·v + (1−β2)·g'²; " +
    "p −= lr/bias1 · m/(√v/√bias2 + eps)",
  // norm2 = Σ g² over all parameters; clip = 0 means none
  inputs: { g: "f32[N]", norm2: "f32[1]" },
  inouts: { p: "f32[N]", m: "f32[N]", v: "f32[N]" },
  outputs: {},
  // bias1 = 1 − β1^t, bias2 = 1 − β2^t after t steps, this one included
  params: {
    lr: "f32",
    beta1: "f32",
    beta2: "f32",
    eps: "f32",
    weight_decay: "f32",
    bias1: "f32",
    bias2: "f32",
    clip: "f32",
  },
  defaults: {
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
    bias1: 0.271,
    bias2: 0.002997,
    clip: 1,
  },
  webgpu: ({ N }, _, context) => [{ source: "adamw/adamw.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("adamw")],
  reference({ g, norm2, p, m, v }, { N }, { lr, beta1, beta2, eps, weight_decay, bias1, bias2, clip }) {
    const s = clip > 0 ? Math.min(1, clip / (Math.sqrt(norm2[0]) + 1e-6)) : 1;
    for (let i = 0; i < N; i++) {
      const clipped = s * g[i];
      p[i] -= lr * weight_decay * p[i];
      m[i] = beta1 * m[i] + (1 - beta1) * clipped;
      v[i] = beta2 * v[i] + (1 - beta2) * clipped ** 2;
      p[i] -= ((lr / bias1) * m[i]) / (Math.sqrt(v[i]) / Math.sqrt(bias2) + eps);
    }
  },
  cost: ({ N }) => ({ flops: 16 * N, bytes: 28 * N }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 5e-7,
    why: "about 10 roundings, a root and a quotient; m is a difference of terms of up to 6",
  }),
  random: { N: [1, 2, 3, 5, 63, 65, 257, 1023, 1025, 5000] },
  values: {
    norm2: (random) => [0.1 + 10 * random.normal() ** 2],
    v: (random, { N }) => Array.from({ length: N }, () => random.normal() ** 2),
  },
  cases: [
    { dims: { N: 20_001 }, params: { clip: 0 } },
    { dims: { N: 100 }, params: { clip: 1e-3, weight_decay: 0, lr: 5e-5 } },
    { dims: { N: 100 }, params: { bias1: 1, bias2: 1, clip: 1e6 } },
  ],
});
