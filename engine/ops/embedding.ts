/** Embedding: gather of rows of a frozen table; there is nothing to differentiate. */
import { embedding as embeddingKernel } from "../../kernels/embedding/embedding.ts";
import type { Task } from "../task.ts";
import type { Tensor } from "../tensor.ts";

/** y[T, D] = w[ids[T], :] with w [V, D] in any storage format. */
export function embedding(task: Task, { ids, w }: { ids: Tensor; w: Tensor }): Tensor {
  return task.run(embeddingKernel, { ids, w }, {}).y;
}
