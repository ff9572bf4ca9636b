/**
 * Rotary position embedding of new queries and keys, and the cache's rows written, in one: what lies between the projections
 * and the attention of a pass that reads a cache. rope.ts and copy.ts define the parts. Declaration.
 */
import { defineKernel, grid } from "../kernel.ts";
import { angles, evenPart, turn } from "./rope.ts";

const GROUP = 64;

export const rope_cache = defineKernel({
  name: "rope_cache",
  formula:
    "y[t] = turned q[t],  keys[at + t] = turned k[t],  values[at + t] = v[t],  by table row positions[t]",
  inputs: {
    q: "f32[T, H, E]",
    k: "f32[T, G, E]",
    v: "f32[T, G, E]",
    positions: "i32[T]",
    table: "f32[P, R]",
  },
  inouts: { keys: "f32[S, G, E]", values: "f32[S, G, E]" },
  outputs: { y: "f32[T, H, E]" },
  params: { at: "u32" },
  ranges: { positions: ({ P }) => [0, P - 1], at: ({ T, S }) => [0, S - T] },
  outside: { positions: "the token's rows of y and keys are NaN" },
  defaults: { at: 0 },
  webgpu: ({ T, H, G, E }) => [
    {
      source: "rope/rope_cache.wgsl",
      overrides: { GROUP },
      groups: grid(Math.ceil((T * (H + G) * E) / (2 * GROUP))),
    },
  ],
  cpu: [{ export: "rope_cache", units: ({ T }) => T, grain: ({ T }) => Math.max(1, Math.min(32, T >> 3)) }],
  reference({ q, k, v, positions, table, keys, values, y }, { T, H, G, E, P, R }, { at }) {
    const from = at * G * E;
    turn(q, y, positions, table, { T, H, E, P, R }, 1);
    turn(k, keys.subarray(from), positions, table, { T, H: G, E, P, R }, 1);
    values.set(v, from);
  },
  cost: ({ T, H, G, E, R }) => ({
    flops: 3 * T * (H + G) * R,
    bytes: 4 * (2 * T * (H + 2 * G) * E + T * R + T),
  }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 1e-6,
    why: "two f32 products and a sum that may cancel, of values around 1",
  }),
  valid: evenPart,
  random: {
    ...{ T: [1, 2, 5, 33], H: [1, 3, 9], G: [1, 3], P: [1, 64], S: [1, 40] },
    ...{ E: [2, 6, 14, 64, 128], R: [2, 6, 14, 48, 64, 128] },
  },
  values: angles,
  cases: [
    { dims: { T: 1, H: 9, G: 3, E: 64, R: 64, P: 40, S: 30 }, params: { at: 29 } },
    { dims: { T: 33, H: 3, G: 1, E: 64, R: 48, P: 64, S: 50 }, params: { at: 17 } },
    { dims: { T: 5, H: 1, G: 2, E: 6, R: 4, P: 9, S: 5 } },
    { dims: { T: 2, H: 1, G: 1, E: 2, R: 2, P: 2, S: 3 }, params: { at: 1 } },
  ],
});
