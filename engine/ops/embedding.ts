/** Embedding: gather of rows of a frozen table; there is nothing to differentiate. */
import { embedding as embeddingKernel } from "../../kernels/embedding/embedding.ts";
import { taskOf } from "../task.ts";
import type { Tensor } from "../tensor.ts";

/** y[T, D] = scale · w[ids[T], :] with w [V, D] in any storage format; scale is 1 if left out. */
export function embedding(ids: Tensor, w: Tensor, { scale = 1 }: { readonly scale?: number } = {}): Tensor {
  return taskOf("embedding", [ids, w]).run(embeddingKernel, { ids, w }, { scale }).y;
}
