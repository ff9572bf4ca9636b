/**
 * Rotary position embedding (Su et al. 2021, eq. 34) in Hugging Face's half-split form: dimension i turns
 * with i + D/2. The angles come as tables, so that every scaling of the frequencies is a table and no new
 * kernel.
 */
import { defineKernel, grid } from "../kernel.ts";

const GROUP = 64;

type Table = { readonly P: number; readonly E: number };

/** Test values of the tables, of real angles: cos² + sin² = 1. */
export const angles = {
  cos: (_: unknown, { P, E }: Table) => Float32Array.from({ length: P * E }, (_, n) => Math.cos(angle(n, E))),
  sin: (_: unknown, { P, E }: Table) => Float32Array.from({ length: P * E }, (_, n) => Math.sin(angle(n, E))),
};

/** y = x [T, H, 2E] turned by the tables' rows from `start` on. */
export function turn(
  x: Float64Array,
  y: Float64Array,
  cos: Float64Array,
  sin: Float64Array,
  { T, H, E }: { readonly T: number; readonly H: number; readonly E: number },
  start: number,
  sign: number,
): void {
  for (let t = 0; t < T; t++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < E; i++) {
        const a = (t * H + h) * 2 * E + i;
        const b = a + E;
        const c = cos[(start + t) * E + i];
        const s = sign * sin[(start + t) * E + i];
        y[a] = x[a] * c - x[b] * s;
        y[b] = x[b] * c + x[a] * s;
      }
    }
  }
}

export const rope = defineKernel({
  name: "rope",
  formula:
    "y[t,h,i] = x_i·cos − sign·x_{i+E}·sin,  y[t,h,i+E] = x_{i+E}·cos + sign·x_i·sin,  table row start + t",
  folder: new URL("./", import.meta.url),
  inputs: { x: "f32[T, H, D]", cos: "f32[P, E]", sin: "f32[P, E]" },
  inouts: {},
  outputs: { y: "f32[T, H, D]" },
  params: { start: "u32", sign: "f32" },
  ranges: { start: ({ T, P }) => [0, P - T] },
  defaults: { start: 0, sign: 1 },
  webgpu: ({ T, H, E }) => [
    { source: "rope.wgsl", overrides: { GROUP }, groups: grid(Math.ceil((T * H * E) / GROUP)) },
  ],
  cpu: [{ export: "rope", units: ({ T }) => T, grain: ({ T }) => Math.max(1, Math.min(32, T >> 3)) }],
  reference: ({ x, cos, sin, y }, dims, { start, sign }) => turn(x, y, cos, sin, dims, start, sign),
  cost: ({ T, H, D, E }) => ({ flops: 3 * T * H * D, bytes: 4 * (2 * T * H * D + 2 * T * E) }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 1e-6,
    why: "two f32 products and a sum that may cancel, of values around 1",
  }),
  random: { T: [1, 2, 5, 33], H: [1, 3, 9], D: [2, 6, 14, 64, 128], P: [64], E: [1, 3, 7, 32, 64] },
  valid: ({ D, E }) => D === 2 * E,
  values: angles,
  cases: [
    { dims: { T: 1, H: 9, D: 64, P: 40, E: 32 }, params: { start: 39 } },
    { dims: { T: 33, H: 3, D: 64, P: 64, E: 32 }, params: { start: 31, sign: -1 } },
    { dims: { T: 5, H: 2, D: 6, P: 9, E: 3 }, params: { start: 4 } },
    { dims: { T: 2, H: 1, D: 2, P: 2, E: 1 }, params: { sign: -1 } },
  ],
});

/** Angle of entry n of a [P, E] table with base 10,000. */
function angle(n: number, E: number): number {
  return Math.floor(n / E) * 10_000 ** -((n % E) / E);
}
