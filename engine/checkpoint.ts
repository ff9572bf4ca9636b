/**
 * Activation checkpointing: a part of the forward keeps its input alone, and runs again in the backward for what the
 * gradients need. Memory for time, with the same bits. Chen et al. 2016, https://arxiv.org/abs/1604.06174.
 */
import { fill } from "../kernels/fill/fill.ts";
import { flows, record } from "./tape.ts";
import { type AnyOpSpec, type Recorder, taskOf } from "./task.ts";
import type { Tensor } from "./tensor.ts";

/** A part of a forward pass. */
export type Body = (x: Tensor) => Tensor;

/**
 * body(x). The body must compute the same when it runs again (random numbers come from counters, so they do), and reaches
 * tensors that require a gradient only through x or as parameters, whose gradient accumulates in place.
 */
export function checkpoint(x: Tensor, body: Body): Tensor {
  const task = taskOf("checkpoint", [x]);
  if (!task.recorder) return body(x);
  const { output, saved } = again.forward(task, { x }, body);
  // live even where x needs no gradient (the embedding), if a parameter inside does
  if (output.requiresGrad) task.recorder.record(again, { x }, output, saved, body, true);
  return output;
}

/** Holds nothing: only tells whether a gradient flows through an output. */
const watcher: Recorder = {
  record: (op, inputs, output, _saved, _attributes, live = flows(op, inputs)) => {
    if (live) output.requiresGrad = true;
  },
};

const again: AnyOpSpec = {
  name: "checkpoint",
  inputs: ["x"],
  differentiable: ["x"],
  forward: (task, { x = missing() }, body) => ({
    output: task.recording(null, () => task.recording(watcher, () => task.tidy(() => (body as Body)(x)))),
    saved: { x },
  }),
  vjp: (task, dy, { x = missing() }, body, wants) => {
    const leaf = task.alias(x, x.shape);
    if (wants.x) {
      leaf.requiresGrad = true;
      leaf.grad = task.empty(x.shape, "f32", "checkpoint.dx");
      task.run(fill, {}, { value: 0 }, { into: { y: leaf.grad } });
    }
    const { result: y, tape } = record(task, () => task.tidy(() => (body as Body)(leaf)));
    tape.backward(y, dy);
    return { x: leaf.grad ?? undefined };
  },
};

function missing(): never {
  throw new TypeError("checkpoint: x is missing");
}
