/**
 * Rotary position embedding (Su et al. 2021, eq. 34) in Hugging Face's half-split form: dimension i of a head turns
 * with i + E/2. Where each token stands is an input, and the angles come as a table, so that every scaling of the frequencies
 * and every policy of positions is data and no new kernel.
 */
import { at } from "../base/at.ts";
import { defineKernel, grid } from "../kernel.ts";

const GROUP = 64;

type Sizes = { readonly P: number; readonly R: number };

/** Test values: a table of real angles, cos² + sin² = 1, and positions in it. */
export const angles = {
  table: (_: unknown, { P, R }: Sizes) =>
    Float32Array.from({ length: P * R }, (_, n) => {
      const i = n % R;
      const half = R / 2;
      const angle = Math.floor(n / R) * 10_000 ** -((i % half) / half);
      return i < half ? Math.cos(angle) : Math.sin(angle);
    }),
  positions: (random: { below(n: number): number }, { T, P }: { readonly T: number; readonly P: number }) =>
    Int32Array.from({ length: T }, () => random.below(P)),
};

/** Pairs are turned, of at most a whole head. */
export const evenPart = ({ E, R }: Readonly<Record<"E" | "R", number>>): boolean =>
  R <= E && R % 2 === 0 && E % 2 === 0;

/** y = x [T, H, E], of each head the first R turned to `positions` [T]; a position outside the table gives NaN. */
export function turn(
  x: Float64Array,
  y: Float64Array,
  positions: Int32Array,
  table: Float64Array,
  { T, H, E, P, R }: Readonly<Record<"T" | "H" | "E" | "P" | "R", number>>,
  sign: number,
): void {
  const half = R / 2;
  for (let t = 0; t < T; t++) {
    const position = at(positions, t);
    const inside = position >= 0 && position < P;
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < half; i++) {
        const a = (t * H + h) * E + i;
        const b = a + half;
        const c = inside ? at(table, position * R + i) : NaN;
        const s = inside ? sign * at(table, position * R + half + i) : NaN;
        y[a] = at(x, a) * c - at(x, b) * s;
        y[b] = at(x, b) * c + at(x, a) * s;
      }
      for (let i = R; i < E; i++) {
        const a = (t * H + h) * E + i;
        y[a] = inside ? at(x, a) : NaN;
      }
    }
  }
}

export const rope = defineKernel({
  name: "rope",
  formula:
    "y[t,h,i] = x_i·cos − sign·x_{i+R/2}·sin,  y[t,h,i+R/2] = x_{i+R/2}·cos + sign·x_i·sin,  i < R/2;  y = x from R on;  table row positions[t]",
  inputs: { x: "f32[T, H, E]", positions: "i32[T]", table: "f32[P, R]" },
  inouts: {},
  outputs: { y: "f32[T, H, E]" },
  params: { sign: "f32" },
  ranges: { positions: ({ P }) => [0, P - 1] },
  outside: { positions: "the token's row of y is NaN" },
  defaults: { sign: 1 },
  webgpu: ({ T, H, E }) => [
    { source: "rope/rope.wgsl", overrides: { GROUP }, groups: grid(Math.ceil((T * H * E) / (2 * GROUP))) },
  ],
  cpu: [{ export: "rope", units: ({ T }) => T, grain: ({ T }) => Math.max(1, Math.min(32, T >> 3)) }],
  reference: ({ x, positions, table, y }, dims, { sign }) => turn(x, y, positions, table, dims, sign),
  cost: ({ T, H, E, R }) => ({ flops: 3 * T * H * R, bytes: 4 * (2 * T * H * E + T * R + T) }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 1e-6,
    why: "two f32 products and a sum that may cancel, of values around 1",
  }),
  valid: evenPart,
  random: { T: [1, 2, 5, 33], H: [1, 3, 9], E: [2, 6, 14, 64, 128], R: [2, 6, 14, 48, 64, 128], P: [1, 64] },
  values: angles,
  cases: [
    { dims: { T: 1, H: 9, E: 64, R: 64, P: 40 } },
    { dims: { T: 33, H: 3, E: 64, R: 64, P: 64 }, params: { sign: -1 } },
    { dims: { T: 5, H: 2, E: 6, R: 4, P: 9 } },
    { dims: { T: 2, H: 3, E: 128, R: 96, P: 2 }, params: { sign: -1 } },
    { dims: { T: 2, H: 1, E: 2, R: 2, P: 2 }, params: { sign: -1 } },
  ],
});
