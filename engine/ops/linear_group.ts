/**
 * Linear layers that read the same input, each with or without a bias and something learnt beside it. Several rows go through one layer after the
 * other. One row that no tape records, a decoding step, takes few products, for there the start of each costs as much as its
 * work: weights that lie one after the other in memory are one matrix, of whose product every output is a view, and so are the
 * As of the LoRAs. The same sums in the same order, so the same numbers.
 */
import { at } from "../../kernels/base/at.ts";
import { accumulate } from "../../kernels/add/add.ts";
import { matmul_nt_acc } from "../../kernels/matmul/matmul.ts";
import { type Task, taskOf } from "../task.ts";
import { type Tensor, canDivide } from "../tensor.ts";
import { add } from "./elementwise.ts";
import { type LoraAttributes, addBias, deltaLinear, linear, loraLinear } from "./linear.ts";

/** y[T, out] = x·wᵀ, with a LoRA + scale · (drop(x)·Aᵀ)·Bᵀ or with a delta + x·deltaᵀ, with a bias + bias[out] and its delta. */
export interface LinearLayer {
  /** [out, in], frozen, in any storage format. */
  readonly w: Tensor;
  /** A [r, in] and B [out, r]. */
  readonly lora: (LoraAttributes & { readonly A: Tensor; readonly B: Tensor }) | null;
  /** [out, in], f32: where there is no LoRA. */
  readonly delta?: Tensor | null;
  /** [out], f32, frozen or trainable. */
  readonly bias?: Tensor | null;
  /** [out], f32: beside a bias. */
  readonly biasDelta?: Tensor | null;
}

/** Outputs [T, out] of x [T, in]. */
export function linearGroup<const L extends readonly LinearLayer[]>(x: Tensor, layers: L): Outputs<L> {
  const task = taskOf("linearGroup", [x]);
  const plain = layers.every(({ lora }) => !lora?.dropout);
  if (task.recorder || x.shape[0] !== 1 || !plain)
    return layers.map((layer) => linearLayer(x, layer)) as Outputs<L>;
  const ys = products(task, x, layers.map(weightOf));
  addLoras(task, x, layers, ys, 1);
  addDeltas(task, x, layers, ys, 1);
  addBiases(task, layers, ys, 1);
  return ys as Outputs<L>;
}

/** One for each layer. */
type Outputs<L extends readonly unknown[]> = { [K in keyof L]: Tensor };

export interface AddLinearOptions {
  /** Into h itself, which nobody else reads from here on; for a single row that no tape records. */
  readonly inPlace?: boolean;
  /** 1 if left out. */
  readonly scale?: number;
}

/** h + scale · the layer's output, both [T, out]. */
export function addLinear(
  h: Tensor,
  x: Tensor,
  layer: LinearLayer,
  { inPlace = false, scale = 1 }: AddLinearOptions = {},
): Tensor {
  if (!inPlace) return add(h, linearLayer(x, layer), { alpha: scale });
  const task = taskOf("addLinear", [h, x]);
  task.run(matmul_nt_acc, { a: x, w: layer.w, c: h }, { alpha: scale });
  addLoras(task, x, [layer], [h], scale);
  addDeltas(task, x, [layer], [h], scale);
  addBiases(task, [layer], [h], scale);
  return h;
}

function linearLayer(x: Tensor, { w, lora, delta, bias, biasDelta }: LinearLayer): Tensor {
  const y = lora
    ? loraLinear(x, w, lora.A, lora.B, { scale: lora.scale, dropout: lora.dropout })
    : delta
      ? deltaLinear(x, w, delta)
      : linear(x, w);
  const biased = bias ? addBias(y, bias) : y;
  return biasDelta ? addBias(biased, biasDelta) : biased;
}

/** Adds `scale` times what the LoRAs among `layers` make of x [1, in] to the layers' outputs. */
function addLoras(
  task: Task,
  x: Tensor,
  layers: readonly LinearLayer[],
  ys: readonly Tensor[],
  scale: number,
): void {
  const As: Tensor[] = [];
  for (const { lora } of layers) if (lora) As.push(lora.A);
  if (As.length === 0) return;
  const us = products(task, x, As);
  let next = 0;
  layers.forEach(({ lora }, i) => {
    if (!lora) return;
    const alpha = scale * lora.scale;
    task.run(matmul_nt_acc, { a: at(us, next++), w: lora.B, c: at(ys, i) }, { alpha });
  });
}

/** The same of the deltas among `layers`. */
function addDeltas(
  task: Task,
  x: Tensor,
  layers: readonly LinearLayer[],
  ys: readonly Tensor[],
  scale: number,
): void {
  layers.forEach(({ delta }, i) => {
    if (delta) task.run(matmul_nt_acc, { a: x, w: delta, c: at(ys, i) }, { alpha: scale });
  });
}

/** Adds `scale` times the biases among `layers`, and their deltas, to the layers' outputs, of one row each. */
function addBiases(task: Task, layers: readonly LinearLayer[], ys: readonly Tensor[], scale: number): void {
  layers.forEach(({ bias, biasDelta }, i) => {
    const y = at(ys, i);
    for (const x of [bias, biasDelta])
      if (x) task.run(accumulate, { x, y: task.alias(y, [y.length]) }, { alpha: scale });
  });
}

/** x [1, in] · wᵀ for each w: one product where they lie one after the other. */
function products(task: Task, x: Tensor, ws: readonly Tensor[]): Tensor[] {
  const sizes = ws.map(outputsOf);
  const all = ws.length > 1 && canDivide(task.device, "f32", sizes) ? task.joined(ws) : null;
  if (!all) return ws.map((w) => linear(x, w));
  const y = linear(x, all);
  let offset = 0;
  return sizes.map((out) => {
    const part = task.alias(y, [1, out], offset);
    offset += out;
    return part;
  });
}

const weightOf = ({ w }: LinearLayer): Tensor => w;
const outputsOf = ({ shape }: Tensor): number => at(shape, 0);
