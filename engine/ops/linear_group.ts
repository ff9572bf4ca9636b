/**
 * Linear layers that read the same input, each with or without a LoRA. Several rows go through one layer after the other.
 * One row that no tape records, a decoding step, takes few products, for there the start of each costs as much as its work:
 * weights that lie one after the other in memory are one matrix, of whose product every output is a view, and so are the As of
 * the LoRAs. The same sums in the same order, so the same numbers.
 */
import { matmul_nt_acc } from "../../kernels/matmul/matmul.ts";
import type { Task } from "../task.ts";
import type { Tensor } from "../tensor.ts";
import { add } from "./elementwise.ts";
import { type LoraAttributes, linear, loraLinear } from "./linear.ts";

/** y[T, out] = x·wᵀ, and with a LoRA + scale · (drop(x)·Aᵀ)·Bᵀ. */
export interface LinearLayer {
  /** [out, in], frozen, in any storage format. */
  readonly w: Tensor;
  /** A [r, in] and B [out, r]. */
  readonly lora: (LoraAttributes & { readonly A: Tensor; readonly B: Tensor }) | null;
}

/** Outputs [T, out] of x [T, in]. */
export function linearGroup(task: Task, x: Tensor, layers: readonly LinearLayer[]): Tensor[] {
  const plain = layers.every(({ lora }) => !lora?.dropout);
  if (task.tape || x.shape[0] !== 1 || !plain) return layers.map((layer) => linearLayer(task, x, layer));
  const ys = products(task, x, layers.map(weightOf));
  addLoras(task, x, layers, ys);
  return ys;
}

/**
 * h + the layer's output, both [T, out]. `inPlace`: h itself, which nobody else reads from here on; for a single row that no
 * tape records.
 */
export function addLinear(task: Task, h: Tensor, x: Tensor, layer: LinearLayer, inPlace: boolean): Tensor {
  if (!inPlace) return add(task, { a: h, b: linearLayer(task, x, layer) }, {});
  task.run(matmul_nt_acc, { a: x, w: layer.w, c: h }, { alpha: 1 });
  addLoras(task, x, [layer], [h]);
  return h;
}

function linearLayer(task: Task, x: Tensor, { w, lora }: LinearLayer): Tensor {
  return lora
    ? loraLinear(task, { x, w, A: lora.A, B: lora.B }, { scale: lora.scale, dropout: lora.dropout })
    : linear(task, { x, w }, {});
}

/** Adds what the LoRAs among `layers` make of x [1, in] to the layers' outputs. */
function addLoras(task: Task, x: Tensor, layers: readonly LinearLayer[], ys: readonly Tensor[]): void {
  const As: Tensor[] = [];
  for (const { lora } of layers) if (lora) As.push(lora.A);
  if (As.length === 0) return;
  const us = products(task, x, As);
  let next = 0;
  layers.forEach(({ lora }, i) => {
    if (lora) task.run(matmul_nt_acc, { a: us[next++], w: lora.B, c: ys[i] }, { alpha: lora.scale });
  });
}

/** x [1, in] · wᵀ for each w: one product where they lie one after the other. */
function products(task: Task, x: Tensor, ws: readonly Tensor[]): Tensor[] {
  const sizes = ws.map(outputsOf);
  const all = ws.length > 1 && task.canDivide("f32", sizes) ? task.joined(ws) : null;
  if (!all) return ws.map((w) => linear(task, { x, w }, {}));
  const y = linear(task, { x, w: all }, {});
  let end = 0;
  return sizes.map((out) => task.alias(y, [1, out], (end += out) - out));
}

const weightOf = ({ w }: LinearLayer): Tensor => w;
const outputsOf = ({ shape: [out = 0] }: Tensor): number => out;
