/** Repetition penalty and bans on the logits, in place: declaration. Keskar et al. 2019, eq. in §4.1 (CTRL). */
import { at } from "../base/at.ts";
import { defineKernel } from "../kernel.ts";
import { lanes } from "../shared/elementwise.ts";
import { UNIT } from "../shared/units.both.ts";

/** What a banned token's logit becomes; finite, as WGSL knows no infinity. */
const BANNED = -1e30;

export const penalize = defineKernel({
  name: "penalize",
  formula: "for i < count, l = logits[ids[i]], f = factors[i]:  l ← f = 0 ? −1e30 : l > 0 ? l/f : l·f",
  // the first `count` ids differ from each other
  inputs: { ids: "i32[N]", factors: "f32[N]" },
  inouts: { logits: "f32[V]" },
  outputs: {},
  params: { count: "u32" },
  ranges: { ids: ({ V }) => [0, V - 1], count: ({ N }) => [0, N] },
  outside: { ids: "nothing: there is no such logit" },
  defaults: { count: 1 },
  webgpu: (_, { count }, context) => [{ source: "penalize/penalize.wgsl", groups: lanes(count, context) }],
  cpu: [{ export: "penalize", units: (_, { count }) => Math.ceil(count / UNIT) }],
  reference({ ids, factors, logits }, { V }, { count }) {
    for (let i = 0; i < count; i++) {
      const id = at(ids, i);
      if (id < 0 || id >= V) continue;
      const f = at(factors, i);
      const l = at(logits, id);
      logits[id] = f === 0 ? BANNED : l > 0 ? l / f : l * f;
    }
  },
  cost: (_, { count }) => ({ flops: count, bytes: 16 * count }),
  tolerance: () => ({ rel: 4e-7, abs: 1e-37, why: "one product, or one quotient (2.5 ulp in WGSL)" }),
  random: { N: [1, 3, 64, 100], V: [1, 5, 65, 1000] },
  values: {
    ids(random, { N, V }) {
      const all = Array.from({ length: V }, (_, v) => v);
      for (let i = 0; i < V; i++) {
        const j = i + random.below(V - i);
        [all[i], all[j]] = [at(all, j), at(all, i)];
      }
      return Array.from({ length: N }, (_, i) => at(all, i % V));
    },
    factors: (random, { N }) => Array.from({ length: N }, () => at([0, 1.12, 1, 0.5], random.below(4))),
  },
  cases: [
    { dims: { N: 600, V: 49152 }, params: { count: 577 } },
    { dims: { N: 2000, V: 2000 }, params: { count: 2000 } },
    { dims: { N: 4, V: 9 }, params: { count: 0 } },
  ],
});
