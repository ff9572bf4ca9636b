/** Cross-entropy from logits, with its gradient in place of them: declaration. */
import { at } from "../base/at.ts";
import { defineKernel, grid, oneBit } from "../kernel.ts";
import { brokenLogits } from "../shared/broken_logits.ts";
import { optionalCap, softCap, softCapSlope } from "../shared/soft_cap.ts";

export const cross_entropy = defineKernel({
  name: "cross_entropy",
  formula:
    "nll[r] = log Σ_v e^logits[r,v] − logits[r,target];  gradient = 1: logits ← softmax(logits) − onehot(target); target < 0: both 0; a logit NaN or +∞, or all −∞: both NaN; " +
    "softcap > 0: with y = softcap · tanh(logits / softcap) in place of the logits, and the gradient's factor 1 − (y / softcap)²",
  inputs: { targets: "i32[R]" },
  inouts: { logits: "f32[R, V]" },
  outputs: { nll: "f32[R]" },
  params: { gradient: "u32", softcap: "f32" },
  ranges: { targets: ({ V }) => [-(2 ** 31), V - 1], gradient: oneBit, softcap: optionalCap },
  outside: { targets: "nll[r], and the row's gradient, are NaN" },
  defaults: { gradient: 1, softcap: 0 },
  webgpu: ({ R }) => [{ source: "cross_entropy/cross_entropy.wgsl", groups: grid(R) }],
  cpu: [{ export: "cross_entropy", units: ({ R }) => R }],
  reference({ targets, logits, nll }, { R, V }, { gradient, softcap }) {
    for (let r = 0; r < R; r++) {
      const row = logits.subarray(r * V, (r + 1) * V);
      const target = at(targets, r);
      if (target < 0 || target >= V) {
        const none = target < 0 ? 0 : NaN;
        nll[r] = none;
        if (gradient) row.fill(none);
        continue;
      }
      const greatest = row.reduce((a, b) => Math.max(a, b), -Infinity);
      const top = Number.isFinite(greatest) ? softCap(greatest, softcap) : NaN;
      const y = row.map((logit) => softCap(logit, softcap));
      const sum = y.reduce((total, v) => total + Math.exp(v - top), 0);
      nll[r] = top - at(y, target) + Math.log(sum);
      if (!gradient) continue;
      const slope = y.map((v) => softCapSlope(v, softcap));
      row.set(y.map((v, i) => (Math.exp(v - top) / sum - (i === target ? 1 : 0)) * at(slope, i)));
    }
  },
  cost: ({ R, V }, { gradient, softcap }) => ({
    flops: ((gradient ? 7 : 5) + (softcap > 0 ? (gradient ? 9 : 3) : 0)) * R * V,
    bytes: 4 * ((gradient ? 2 : 1) * R * V + 2 * R),
  }),
  tolerance: () => ({
    rel: 3e-6,
    abs: 1e-6,
    why: "e^x within 3 + 2|x| ulp (WGSL; 2 ulp on the CPU) of x = logit − max; log within 3 ulp or 2⁻²¹; p − 1 cancels",
  }),
  random: { R: [1, 2, 3, 5, 17], V: [1, 2, 3, 5, 63, 64, 65, 127, 129, 257, 1000] },
  values: {
    // one row in V + 1 is without a target
    targets: (random, { R, V }) => Array.from({ length: R }, () => random.below(V + 1) - 1),
  },
  cases: [
    { dims: { R: 3, V: 49152 } },
    { dims: { R: 2, V: 49152 }, params: { gradient: 0 } },
    { dims: { R: 5, V: 300 }, scale: 1e4 },
    { dims: { R: 5, V: 300 }, scale: 20 },
    { dims: { R: 4, V: 65 }, scale: 0 },
    { dims: { R: 3, V: 49152 }, params: { softcap: 30 }, scale: 20 },
    { dims: { R: 3, V: 1027 }, params: { softcap: 2 }, scale: 5 },
    { dims: { R: 3, V: 1027 }, params: { softcap: 2, gradient: 0 }, scale: 5 },
    { dims: { R: 5, V: 300 }, params: { softcap: 30 }, scale: 1e20 },
    { dims: { R: 4, V: 65 }, params: { softcap: 30 }, scale: 0 },
    ...brokenLogits(({ R, V }: { readonly R: number; readonly V: number }) => R * V).flatMap((given) => [
      { dims: { R: 5, V: 403 }, given },
      { dims: { R: 5, V: 403 }, params: { softcap: 3 }, given },
    ]),
  ],
});
