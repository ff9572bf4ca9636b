/** One token drawn from the softmax of the logits, cut by top-k, top-p and min-p, without reading them back: declaration. */
import { at } from "../base/at.ts";
import { anyWord, type CaseRandom, defineKernel } from "../kernel.ts";

interface Params {
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly min_p: number;
  readonly u: number;
}

/**
 * The draw in float64; −1 where a logit is NaN or +∞, or none is finite. Tokens stand in descending order of logit, the
 * lowest index first among equals; top_k, top_p and min_p each keep the first of them, one at least. Those kept are then
 * added up in the order of their indices, and the one in which u of their sum lies is drawn. `margin` says how near
 * another result is, as a part of the sum.
 */
function choose(
  logits: Float64Array,
  { temperature, top_k, top_p, min_p, u }: Params,
): { index: number; margin: number } {
  const best = logits.reduce((a, b) => Math.max(a, b));
  if (!Number.isFinite(best)) return { index: -1, margin: 1 }; // Math.max passes NaN on
  const weights = logits.map((l) => Math.exp((l - best) / temperature));
  const order = Array.from(logits.keys()).sort((a, b) => at(logits, b) - at(logits, a) || a - b);
  const count = top_k > 0 ? Math.min(top_k, order.length) : order.length;
  const total = order.slice(0, count).reduce((sum, v) => sum + at(weights, v), 0);
  let margin = 1;
  let mass = at(weights, at(order, 0));
  let kept = 1;
  for (; kept < count; kept++) {
    const w = at(weights, at(order, kept));
    if (top_p < 1) margin = Math.min(margin, Math.abs(mass / total - top_p));
    if (min_p > 0) margin = Math.min(margin, Math.abs(w - min_p));
    if (mass >= top_p * total || w < min_p) break;
    mass += w;
  }
  const goal = u * mass;
  let before = 0;
  const ids = order.slice(0, kept).sort((a, b) => a - b);
  for (const [i, v] of ids.entries()) {
    const after = before + at(weights, v);
    if (goal < after || i === kept - 1) {
      const low = before > 0 ? goal - before : mass;
      const high = i < kept - 1 ? after - goal : mass;
      return { index: v, margin: Math.min(margin, low / mass, high / mass) };
    }
    before = after;
  }
  return { index: -1, margin: 0 };
}

const TRIES = 8;

/**
 * Logits in steps of 1/8, so that many are equal, whose draw rounding cannot change: no sum is within 1e-5 of a bound. Where a
 * few tries find none (flat logits of many tokens), one token gets most of the weight.
 */
function clearLogits(random: CaseRandom, { V }: { readonly V: number }, params: Params): Float64Array {
  let logits = new Float64Array(V);
  for (let tried = 0; tried < TRIES; tried++) {
    logits = Float64Array.from({ length: V }, () => Math.round(32 * random.normal()) / 8);
    if (choose(logits, params).margin > 1e-5) return logits;
  }
  const best = logits.reduce((a, b) => Math.max(a, b));
  logits[random.below(V)] = best + params.temperature * (Math.log(V) + 5);
  return logits;
}

export const sample = defineKernel({
  name: "sample",
  formula:
    "index = least v: Σ_{j≤v} w_j > u · Σ_j w_j, w = e^(logits / temperature) of what top_k, top_p, min_p keep; −1: NaN, +∞ or none finite",
  inputs: { logits: "f32[V]" },
  inouts: {},
  outputs: { index: "i32[1]" },
  params: { temperature: "f32", top_k: "u32", top_p: "f32", min_p: "f32", u: "f32" },
  ranges: { top_k: anyWord },
  defaults: { temperature: 0.8, top_k: 0, top_p: 0.9, min_p: 0, u: 0.4 },
  webgpu: () => [
    { source: "sample/sample.wgsl", bindings: ["logits", "index", "weights"], groups: [1, 1, 1] },
  ],
  webgpuScratch: ({ V }) => ({ weights: V }),
  cpu: [{ export: "sample", units: () => 1 }],
  cpuShared: ({ V }) => 4 * V,
  reference({ logits, index }, _, params) {
    index[0] = choose(logits, params).index;
  },
  cost: ({ V }, { top_k, top_p }) => ({
    // A maximum, a weight, two sums; each cut halves an interval of 30 bits, comparing and adding the weights each time
    flops: V * (6 + 60 * (Number(top_k > 0) + Number(top_p < 1))),
    bytes: 4 * (V + 1),
  }),
  tolerance: () => ({ rel: 0, abs: 0, why: "an index; the test logits leave room for the rounding of sums" }),
  random: { V: [1, 2, 3, 5, 63, 64, 65, 255, 256, 257, 1000] },
  values: { logits: clearLogits },
  cases: [
    { dims: { V: 49152 }, params: { temperature: 1, top_p: 1 } },
    { dims: { V: 49151 }, params: { temperature: 0.5, top_p: 0.8, min_p: 0.01, u: 0.77 } },
    { dims: { V: 49152 }, params: { temperature: 0.7, top_k: 300, top_p: 0.95, u: 0.5 } },
    { dims: { V: 1000 }, params: { top_k: 40, top_p: 1, u: 0.9 } },
    { dims: { V: 1000 }, params: { top_k: 7, u: 0.2 } },
    { dims: { V: 300 }, params: { top_k: 1000, top_p: 1, u: 0.6 } },
    { dims: { V: 300 }, params: { top_p: 1, min_p: 0.3, u: 0.3 } },
    { dims: { V: 300 }, params: { temperature: 2, top_p: 0.5, min_p: 1, u: 0.5 } },
    { dims: { V: 257 }, params: { temperature: 50, top_p: 0.5, u: 0.5 } },
    { dims: { V: 65 }, params: { top_p: 0, u: 0.999 } },
    { dims: { V: 65 }, params: { temperature: 0.01, top_p: 1, u: 1 - 2 ** -24 } },
    { dims: { V: 5 }, params: { top_p: 1, u: 1 - 2 ** -24 } },
    { dims: { V: 5 }, params: { top_p: 1, u: 0 } },
  ],
});
