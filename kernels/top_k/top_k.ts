/** The K largest of V values, for sampling without reading all the logits back: declaration. */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { brokenLogits } from "../shared/broken_logits.ts";

export const top_k = defineKernel({
  name: "top_k",
  formula:
    "values[k] = logits[indices[k]], the K largest in descending order; the lowest index first among equals; all NaN and −1 where a logit is NaN or +∞, or all are −∞",
  inputs: { logits: "f32[V]" },
  inouts: {},
  outputs: { values: "f32[K]", indices: "i32[K]" },
  params: {},
  defaults: {},
  webgpu: () => [{ source: "top_k/top_k.wgsl", groups: [1, 1, 1] }],
  cpu: [{ export: "top_k", units: () => 1 }],
  reference({ logits, values, indices }, { K }) {
    if (!Number.isFinite(logits.reduce((a, b) => Math.max(a, b)))) {
      values.fill(NaN);
      indices.fill(-1);
      return;
    }
    const order = Array.from(logits.keys()).sort((a, b) => at(logits, b) - at(logits, a) || a - b);
    indices.set(order.slice(0, K));
    values.set(order.slice(0, K).map((v) => at(logits, v)));
  },
  cost: ({ V, K }) => ({ flops: V, bytes: 4 * (V + 2 * K) }),
  tolerance: () => ({ rel: 0, abs: 0, why: "values are compared, not computed" }),
  random: { V: [1, 2, 3, 5, 64, 65, 255, 256, 257, 1000], K: [1, 2, 3, 5, 40, 255, 256] },
  valid: ({ V, K }) => K <= V && K <= 256,
  values: {
    // in steps of 1/8, so that many are equal
    logits: (random, { V }) => Array.from({ length: V }, () => Math.round(8 * random.normal()) / 8),
  },
  cases: [
    { dims: { V: 49152, K: 40 } },
    { dims: { V: 49152, K: 256 } },
    { dims: { V: 256, K: 256 } },
    { dims: { V: 1, K: 1 } },
    ...brokenLogits(({ V }: { readonly V: number }) => V).flatMap((given) =>
      [7, 100].map((K) => ({ dims: { V: 1001, K }, given })),
    ),
  ],
});
