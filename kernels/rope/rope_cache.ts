/**
 * Rotary position embedding of new queries and keys, and the cache's rows written, in one: what lies between the projections
 * and the attention of a pass that reads a cache. rope.ts and copy.ts define the parts. Declaration.
 */
import { defineKernel, grid } from "../kernel.ts";
import { angles, turn } from "./rope.ts";

const GROUP = 64;

export const rope_cache = defineKernel({
  name: "rope_cache",
  formula: "y[t] = turned q[t],  keys[at + t] = turned k[t],  values[at + t] = v[t],  by table row start + t",
  folder: new URL("./", import.meta.url),
  inputs: { q: "f32[T, H, D]", k: "f32[T, G, D]", v: "f32[T, G, D]", cos: "f32[P, E]", sin: "f32[P, E]" },
  inouts: { keys: "f32[S, G, D]", values: "f32[S, G, D]" },
  outputs: { y: "f32[T, H, D]" },
  params: { start: "u32", at: "u32" },
  ranges: { start: ({ T, P }) => [0, P - T], at: ({ T, S }) => [0, S - T] },
  defaults: { start: 0, at: 0 },
  webgpu: ({ T, H, G, E }) => [
    { source: "rope_cache.wgsl", overrides: { GROUP }, groups: grid(Math.ceil((T * (H + G) * E) / GROUP)) },
  ],
  cpu: [{ export: "rope_cache", units: ({ T }) => T, grain: ({ T }) => Math.max(1, Math.min(32, T >> 3)) }],
  reference({ q, k, v, cos, sin, keys, values, y }, { T, H, G, E, D }, { start, at }) {
    const from = at * G * D;
    turn(q, y, cos, sin, { T, H, E }, start, 1);
    turn(k, keys.subarray(from), cos, sin, { T, H: G, E }, start, 1);
    values.set(v, from);
  },
  cost: ({ T, H, G, D, E }) => ({
    flops: 3 * T * (H + G) * D,
    bytes: 4 * (2 * T * (H + 2 * G) * D + 2 * T * E),
  }),
  tolerance: () => ({
    rel: 1e-6,
    abs: 1e-6,
    why: "two f32 products and a sum that may cancel, of values around 1",
  }),
  random: {
    T: [1, 2, 5, 33],
    H: [1, 3, 9],
    G: [1, 3],
    D: [2, 6, 14, 64, 128],
    P: [64],
    E: [1, 3, 7, 32, 64],
    S: [1, 40],
  },
  valid: ({ D, E }) => D === 2 * E,
  values: angles,
  cases: [
    { dims: { T: 1, H: 9, G: 3, D: 64, P: 40, E: 32, S: 30 }, params: { start: 39, at: 29 } },
    { dims: { T: 33, H: 3, G: 1, D: 64, P: 64, E: 32, S: 50 }, params: { start: 31, at: 17 } },
    { dims: { T: 5, H: 1, G: 2, D: 6, P: 9, E: 3, S: 5 }, params: { start: 4 } },
    { dims: { T: 2, H: 1, G: 1, D: 2, P: 2, E: 1, S: 3 }, params: { at: 1 } },
  ],
});
