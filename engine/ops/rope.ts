/** Rotary position embedding, half-split pairs as in Hugging Face's Llama. Su et al. 2021, https://arxiv.org/abs/2104.09864 */
import { rope as ropeKernel } from "../../kernels/rope/rope.ts";
import { rope_cache } from "../../kernels/rope/rope_cache.ts";
import { taskOf } from "../task.ts";
import { defineOp } from "../op.ts";
import type { Tensor } from "../tensor.ts";

/**
 * Rotates the first R dimensions of each head of x [T, H, E] to `positions` i32[T], the rows of `table` [P, R] that have a token's
 * R/2 cosines, then its R/2 sines; the others stay. The rotation is orthogonal, so its backward is the inverse rotation; the kernel is linear in x for any table.
 */
export const rope = defineOp({
  name: "rope",
  inputs: ["x", "positions", "table"],
  differentiable: ["x"],
  forward: (task, { x, positions, table }, _: object) => ({
    output: task.run(ropeKernel, { x, positions, table }, { sign: 1 }).y,
    saved: { positions, table },
  }),
  vjp: (task, dy, { positions, table }) => ({
    x: task.run(ropeKernel, { x: dy, positions, table }, { sign: -1 }).y,
  }),
  checks: [4, 2].map((R) => ({
    inputs: { x: [3, 2, 4], positions: Int32Array.of(2, 0, 4), table: [5, R] },
    attributes: {},
  })),
});

type RopeCacheTensors = Readonly<Record<"q" | "k" | "v" | "positions" | "table" | "keys" | "values", Tensor>>;

/**
 * Turns q [T, H, E] and k [T, G, E] as `rope` does, and writes the turned keys and v to the rows of `keys` and `values` [S, G, E]
 * that begin at `at`. One kernel, for passes that no tape records. Returns the turned q.
 */
export function ropeCache(tensors: RopeCacheTensors, { at }: { readonly at: number }): Tensor {
  return taskOf("ropeCache", [tensors.q]).run(rope_cache, tensors, { at }).y;
}
