/** The Kullback–Leibler divergence from one softmax to another, with its gradient in place of the latter's logits: declaration. */
import { at } from "../base/at.ts";
import { defineKernel, grid } from "../kernel.ts";
import { brokenLogits } from "../shared/broken_logits.ts";
import { optionalCap, softCap, softCapSlope } from "../shared/soft_cap.ts";

export const kl_divergence = defineKernel({
  name: "kl_divergence",
  formula:
    "kl[r] = Σ_v p·(log p − log q), p = softmax(anchor[r]), q = softmax(logits[r]);  logits ← q − p; a number in either row that is not finite: both NaN; " +
    "softcap > 0: with y = softcap · tanh(x / softcap) in place of each x, and the gradient's factor 1 − (y / softcap)²",
  inputs: { anchor: "f32[R, V]" },
  inouts: { logits: "f32[R, V]" },
  outputs: { kl: "f32[R]" },
  params: { softcap: "f32" },
  ranges: { softcap: optionalCap },
  defaults: { softcap: 0 },
  webgpu: ({ R }) => [{ source: "kl_divergence/kl_divergence.wgsl", groups: grid(R) }],
  cpu: [{ export: "kl_divergence", units: ({ R }) => R }],
  reference({ anchor, logits, kl }, { R, V }, { softcap }) {
    for (let r = 0; r < R; r++) {
      const rows = [anchor, logits].map((all) => all.subarray(r * V, (r + 1) * V));
      const row = at(rows, 1);
      if (rows.some((numbers) => !numbers.every(Number.isFinite))) {
        kl[r] = NaN;
        row.fill(NaN);
        continue;
      }
      const [p, q] = rows.map((numbers) => {
        const y = numbers.map((x) => softCap(x, softcap));
        const top = y.reduce((a, b) => Math.max(a, b), -Infinity);
        const log = top + Math.log(y.reduce((sum, v) => sum + Math.exp(v - top), 0));
        return { y, logs: y.map((v) => v - log) };
      }) as [Softmax, Softmax];
      kl[r] = p.logs.reduce((sum, log, v) => sum + Math.exp(log) * (log - at(q.logs, v)), 0);
      const slope = q.y.map((v) => softCapSlope(v, softcap));
      row.set(q.logs.map((log, v) => (Math.exp(log) - Math.exp(at(p.logs, v))) * at(slope, v)));
    }
  },
  cost: ({ R, V }, { softcap }) => ({ flops: (softcap > 0 ? 31 : 16) * R * V, bytes: 4 * (3 * R * V + R) }),
  tolerance: () => ({
    rel: 3e-6,
    abs: 3e-6,
    why: "as cross_entropy's, twice: e^x within 3 + 2|x| ulp, logs within 3 ulp or 2⁻²¹; what both rows have in common cancels",
  }),
  random: { R: [1, 2, 3, 5, 17], V: [1, 2, 3, 5, 63, 64, 65, 127, 129, 257, 1000] },
  cases: [
    { dims: { R: 3, V: 49152 } },
    { dims: { R: 5, V: 300 }, scale: 20 },
    { dims: { R: 4, V: 65 }, scale: 0 },
    { dims: { R: 3, V: 49152 }, params: { softcap: 30 }, scale: 20 },
    { dims: { R: 3, V: 1027 }, params: { softcap: 2 }, scale: 5 },
    { dims: { R: 4, V: 65 }, params: { softcap: 30 }, scale: 0 },
    ...brokenLogits(({ R, V }: { readonly R: number; readonly V: number }) => R * V).flatMap((given) => [
      { dims: { R: 5, V: 403 }, given },
      { dims: { R: 5, V: 403 }, params: { softcap: 3 }, given },
    ]),
    {
      dims: { R: 5, V: 403 },
      given: {
        what: "a NaN in a row of the anchor",
        values: {
          anchor: (random, { R, V }) =>
            Array.from({ length: R * V }, (_, i) => (i === 700 ? NaN : random.normal())),
        },
      },
    },
  ],
});

interface Softmax {
  readonly y: Float64Array;
  readonly logs: Float64Array;
}
