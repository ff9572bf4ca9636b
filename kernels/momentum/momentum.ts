/**
 * The momentum of SGD and Muon, with global-norm clipping: declaration. As torch.optim.SGD has it (dampening 0), but for the decay, which is
 * decoupled as AdamW's. A step whose gradients are not all finite changes nothing, its direction is 0, and it is counted.
 */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";

const plain = { decay: 0, beta: 0.9, own: 0, kept: 1, clip: 1 };
const nesterov = { ...plain, own: 1, kept: 0.9 };

export const momentum = defineKernel({
  name: "momentum",
  formula:
    "g' = g·min(1, clip/(√norm2 + 1e-6)); p −= decay·p; m = β·m + g'; u = own·g' + kept·m; " +
    "nothing but u = 0 and skipped += 1 if norm2 is not finite",
  // norm2 = Σ g² over all parameters; clip = 0 means none
  inputs: { g: "f32[N]", norm2: "f32[1]" },
  // skipped: how many steps were, a whole number
  inouts: { p: "f32[N]", m: "f32[N]", skipped: "f32[1]" },
  outputs: { u: "f32[N]" },
  params: { decay: "f32", beta: "f32", own: "f32", kept: "f32", clip: "f32" },
  defaults: nesterov,
  webgpu: ({ N }, _, context) => [{ source: "momentum/momentum.wgsl", groups: lanes(N, context) }],
  cpu: [elementwise("momentum")],
  reference({ g, norm2, p, m, skipped, u }, { N }, { decay, beta, own, kept, clip }) {
    const squares = at(norm2, 0);
    if (!Number.isFinite(squares)) {
      skipped[0] = at(skipped, 0) + 1;
      u.fill(0);
      return;
    }
    const s = clip > 0 ? Math.min(1, clip / (Math.sqrt(squares) + 1e-6)) : 1;
    for (let i = 0; i < N; i++) {
      const clipped = s * at(g, i);
      const mean = beta * at(m, i) + clipped;
      p[i] = at(p, i) - decay * at(p, i);
      m[i] = mean;
      u[i] = own * clipped + kept * mean;
    }
  },
  cost: ({ N }) => ({ flops: 8 * N, bytes: 24 * N }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 2e-6,
    why: "about 6 roundings of terms of up to 6 that may cancel, in u of twice as many",
  }),
  random: { N: [1, 2, 3, 5, 63, 65, 257, 1023, 1025, 5000] },
  values: {
    norm2: (random) => [0.1 + 10 * random.normal() ** 2],
    skipped: (random) => [random.below(1000)],
  },
  cases: [
    { dims: { N: 20_001 }, params: { ...plain, clip: 0 } },
    { dims: { N: 100 }, params: { ...nesterov, clip: 1e-3 } },
    { dims: { N: 1025 }, params: { ...plain, decay: 0.125, beta: 0 } },
    ...[NaN, Infinity, -Infinity].map((value) => ({
      dims: { N: 1030 },
      given: { what: `norm2=${value}`, values: { norm2: () => [value] } },
    })),
  ],
});
