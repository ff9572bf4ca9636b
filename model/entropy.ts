/** How uncertain a model is of the next token. */
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { accumulate } from "../kernels/add/add.ts";
import { copy } from "../kernels/copy/copy.ts";
import { cross_entropy } from "../kernels/cross_entropy/cross_entropy.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";

/**
 * −Σ_v p[v] ln p[v] [1], nats, of p = softmax(logits [1, V]), which stay as they are; rounding can make it a little less than 0. The caller's
 * scope owns it. With nll(t) = ln Σ e^z − z[t] of any token t, and its gradient g = p − onehot(t), it is nll(t) − g·z: the kernels of the loss make both
 * in one pass.
 */
export function entropyOf(task: Task, logits: Tensor): Tensor {
  const gradient = task.empty(logits.shape);
  task.run(copy, { x: logits, y: gradient }, { from: 0, to: 0, count: logits.length });
  const targets = task.tensor(Int32Array.of(0), [1], "targets");
  const { nll } = task.run(cross_entropy, { targets, logits: gradient }, { gradient: 1, softcap: 0 });
  const { c } = task.run(matmul_nt, { a: gradient, w: logits }, { alpha: -1 });
  task.run(accumulate, { x: task.alias(c, [1]), y: nll }, { alpha: 1 });
  return nll;
}
