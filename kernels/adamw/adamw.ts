/**
 * AdamW with global-norm clipping: declaration. Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101, in the order
 * of torch.optim.AdamW; clipping as in torch.nn.utils.clip_grad_norm_ (hence its 1e-6). A step whose gradients are not all
 * finite changes nothing and is counted, as under torch.amp.GradScaler.
 */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
  /** Largest global gradient norm; 0 = no clipping. */
  readonly clip: number;
}

/**
 * The kernel's parameters at the `step`-th step, from 1. All differences, powers and quotients are formed here, in float64:
 * in f32, 1 − 0.999 would be 1.3e-5 off.
 */
export function adamwParams(
  { beta1, beta2, eps, weight_decay, clip }: AdamWOptions,
  lr: number,
  step: number,
) {
  return {
    decay: lr * weight_decay,
    rate: lr / (1 - beta1 ** step),
    beta1,
    rest1: 1 - beta1,
    beta2,
    rest2: 1 - beta2,
    root: 1 / Math.sqrt(1 - beta2 ** step),
    eps,
    clip,
  };
}

const paper = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 1 };
/** The first step: moments are 0, and gradients are large, so that the digits of 1 − β stand alone in what comes out. */
const first = {
  what: "first step",
  values: { m: zeros, v: zeros },
};

export const adamw = defineKernel({
  name: "adamw",
  formula:
    "g' = g·min(1, clip/(√norm2 + 1e-6)); p −= decay·p; m = β1·m + rest1·g'; v = β2·v + rest2·g'²; " +
    "p −= rate · m/(√v·root + eps); nothing but skipped += 1 if norm2 is not finite",
  // norm2 = Σ g² over all parameters; clip = 0 means none
  inputs: { g: "f32[N]", norm2: "f32[1]" },
  // skipped: how many steps were, a whole number
  inouts: { p: "f32[N]", m: "f32[N]", v: "f32[N]", skipped: "f32[1]" },
  outputs: {},
  params: {
    decay: "f32",
    rate: "f32",
    beta1: "f32",
    rest1: "f32",
    beta2: "f32",
    rest2: "f32",
    root: "f32",
    eps: "f32",
    clip: "f32",
  },
  defaults: adamwParams(paper, 1e-3, 3),
  webgpu: ({ N }, _, context) => [{ source: "adamw/adamw.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("adamw")],
  reference(
    { g, norm2, p, m, v, skipped },
    { N },
    { decay, rate, beta1, rest1, beta2, rest2, root, eps, clip },
  ) {
    const squares = at(norm2, 0);
    if (!Number.isFinite(squares)) {
      skipped[0] = at(skipped, 0) + 1;
      return;
    }
    const s = clip > 0 ? Math.min(1, clip / (Math.sqrt(squares) + 1e-6)) : 1;
    for (let i = 0; i < N; i++) {
      const clipped = s * at(g, i);
      const mean = beta1 * at(m, i) + rest1 * clipped;
      const square = beta2 * at(v, i) + rest2 * clipped ** 2;
      const decayed = at(p, i) - decay * at(p, i);
      p[i] = decayed - (rate * mean) / (Math.sqrt(square) * root + eps);
      m[i] = mean;
      v[i] = square;
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
    skipped: (random) => [random.below(1000)],
  },
  cases: [
    { dims: { N: 20_001 }, params: adamwParams({ ...paper, clip: 0 }, 1e-3, 3) },
    { dims: { N: 100 }, params: adamwParams({ ...paper, clip: 1e-3, weight_decay: 0 }, 5e-5, 10) },
    { dims: { N: 100 }, params: adamwParams({ ...paper, clip: 1e6 }, 1e-3, 1e6) },
    { dims: { N: 1000 }, params: adamwParams({ ...paper, clip: 0 }, 1e-3, 1), scale: 30, given: first },
    ...[NaN, Infinity, -Infinity].map((value) => ({
      dims: { N: 1030 },
      given: { what: `norm2=${value}`, values: { norm2: () => [value], g: broken(value) } },
    })),
  ],
});

function zeros(_: unknown, { N }: { readonly N: number }): number[] {
  return new Array<number>(N).fill(0);
}

/** Gradients of which some are `value`. */
function broken(value: number) {
  return (random: { normal(): number }, { N }: { readonly N: number }): number[] =>
    Array.from({ length: N }, (_, i) => (i % 100 === 7 ? value : random.normal()));
}
