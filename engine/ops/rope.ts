/** Rotary position embedding, half-split pairs as in Hugging Face's Llama. Su et al. 2021, https://arxiv.org/abs/2104.09864 */
import { rope as ropeKernel } from "../../kernels/rope/rope.ts";
import { rope_cache } from "../../kernels/rope/rope_cache.ts";
import type { Task } from "../task.ts";
import { defineOp } from "../op.ts";
import type { Tensor } from "../tensor.ts";

/**
 * Rotates x [T, H, D] by the tables' rows start…start+T−1; cos and sin are [P, D/2] with P positions.
 * The rotation is orthogonal, so its backward is the inverse rotation; the kernel is linear in x for any tables.
 */
export const rope = defineOp({
  name: "rope",
  inputs: ["x", "cos", "sin"],
  differentiable: ["x"],
  forward: (task, { x, cos, sin }, { start }: { readonly start: number }) => ({
    output: task.run(ropeKernel, { x, cos, sin }, { start, sign: 1 }).y,
    saved: { cos, sin },
  }),
  vjp: (task, dy, { cos, sin }, { start }) => ({
    x: task.run(ropeKernel, { x: dy, cos, sin }, { start, sign: -1 }).y,
  }),
  checks: [
    {
      inputs: {
        x: [3, 2, 4],
        cos: [5, 2],
        sin: [5, 2],
      },
      attributes: { start: 2 },
    },
  ],
});

/**
 * `rope` of q [T, H, D] and k [T, G, D], and the turned keys and v written to rows `at` and on of `keys` and `values` [S, G, D]: in
 * one kernel, for passes that no tape records. Answers the turned q.
 */
export function ropeCache(
  task: Task,
  tensors: Readonly<Record<"q" | "k" | "v" | "cos" | "sin" | "keys" | "values", Tensor>>,
  places: { readonly start: number; readonly at: number },
): Tensor {
  return task.run(rope_cache, tensors, places).y;
}
