/** The index of a row's largest value, for greedy decoding without reading the logits back: declaration. */
import { defineKernel, grid } from "../kernel.ts";
import { brokenLogits } from "../shared/broken_logits.ts";

export const argmax = defineKernel({
  name: "argmax",
  formula:
    "index[r] = the lowest v with logits[r,v] = max_v logits[r,v]; −1 where one is NaN or +∞, or all are −∞",
  inputs: { logits: "f32[R, V]" },
  inouts: {},
  outputs: { index: "i32[R]" },
  params: {},
  defaults: {},
  webgpu: ({ R }) => [{ source: "argmax/argmax.wgsl", groups: grid(R) }],
  cpu: [{ export: "argmax", units: ({ R }) => R }],
  reference({ logits, index }, { R, V }) {
    for (let r = 0; r < R; r++) {
      const row = logits.subarray(r * V, (r + 1) * V);
      const top = row.reduce((a, b) => Math.max(a, b)); // NaN if one is
      index[r] = Number.isFinite(top) ? row.indexOf(top) : -1;
    }
  },
  cost: ({ R, V }) => ({ flops: R * V, bytes: 4 * R * (V + 1) }),
  tolerance: () => ({ rel: 0, abs: 0, why: "values are compared, not computed" }),
  random: { R: [1, 2, 3, 5], V: [1, 2, 3, 5, 63, 64, 65, 255, 257, 1000] },
  values: {
    // in steps of 1/4, so that the largest is seldom alone
    logits: (random, { R, V }) => Array.from({ length: R * V }, () => Math.round(4 * random.normal()) / 4),
  },
  cases: [
    { dims: { R: 1, V: 49152 } },
    { dims: { R: 3, V: 49151 } },
    ...brokenLogits(({ R, V }: { readonly R: number; readonly V: number }) => R * V).map((given) => ({
      dims: { R: 5, V: 403 },
      given,
    })),
  ],
});
