/** Dropout whose mask is a function of (seed, stream, step): declaration. engine/random.ts has the same words. */
import { at } from "../base/at.ts";
import { anyWord, defineKernel } from "../kernel.ts";
import { elementwise, lanes } from "../shared/elementwise.ts";
import { threefry2x32 } from "../shared/threefry.ts";

export const dropout = defineKernel({
  name: "dropout",
  formula:
    "y[i] = word_i >>> 8 ≥ t ? x[i] / (1 − t/2²⁴) : 0, t = round(p·2²⁴);  word_i of Threefry, key (seed, stream), counter (i >> 1, step)",
  inputs: { x: "f32[N]" },
  inouts: {},
  outputs: { y: "f32[N]" },
  params: { seed: "u32", stream: "u32", step: "u32", p: "f32" },
  ranges: { seed: anyWord, stream: anyWord, step: anyWord },
  defaults: { seed: 4_000_000_007, stream: 16_777_222, step: 3, p: 0.05 },
  webgpu: ({ N }, _, context) => [
    { source: "dropout/dropout.wgsl", groups: lanes(Math.ceil(N / 2), context) },
  ],
  cpu: [elementwise("dropout")],
  reference({ x, y }, { N }, { seed, stream, step, p }) {
    const threshold = Math.round(Math.fround(p) * 2 ** 24); // p is an f32 on every device
    for (let i = 0; i < N; i++) {
      const word = at(threefry2x32(seed, stream, i >>> 1, step), i & 1);
      y[i] = word >>> 8 >= threshold ? at(x, i) / (1 - threshold / 2 ** 24) : 0;
    }
  },
  cost: ({ N }) => ({ flops: N, bytes: 8 * N }),
  tolerance: () => ({
    rel: 5e-7,
    abs: 1e-37,
    why: "a quotient (2.5 ulp in WGSL) of whole numbers, and a product; the mask is exact",
  }),
  random: { N: [1, 2, 3, 5, 7, 8, 9, 63, 65, 511, 513, 1023, 1025, 5000] },
  cases: [
    { dims: { N: 40_001 }, params: { p: 0.5, seed: 1234, stream: 0, step: 0 } },
    { dims: { N: 100 }, params: { p: 0, seed: 0, stream: 0xffffffff, step: 0xffffffff } },
    { dims: { N: 1000 }, params: { p: 0.99 } },
  ],
});
