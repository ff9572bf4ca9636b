/**
 * The tape: records ops as they run, walks them backward, and is the only place that adds gradients. Saved tensors are
 * held by reference count, so a scope that ends inside the forward frees everything the backward does not need; each
 * node releases its own as soon as the walk has passed it. The output of a cheap op is not held at all: when a later op's
 * backward needs it, the cheap op runs again.
 */
import { accumulate, add } from "../kernels/add/add.ts";
import type { AnyOpSpec, Recorder, Task } from "./task.ts";
import { ShapeError } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

interface Node {
  readonly op: AnyOpSpec;
  /** Only to tell inputs apart: an input's memory is held only if it was saved. */
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly output: Tensor;
  /** By name; aliases, which hold the memory. */
  readonly saved: Readonly<Record<string, Tensor>>;
  /** By name of what else was saved: the cheap op that makes it again. */
  readonly makers: Readonly<Record<string, Node>>;
  readonly attributes: unknown;
  /** The output of a cheap op, made again; null before that. */
  remade: Tensor | null;
}

/** Runs `body` with a new tape recording; the caller ends it by walking it backward, or with `using`. */
export function record<T>(task: Task, body: () => T): { result: T; tape: Tape } {
  const tape = new Tape(task);
  try {
    return { result: task.recording(tape, body), tape };
  } catch (error) {
    tape[Symbol.dispose]();
    throw error;
  }
}

/** Whether a gradient flows through an op: it does through an input. */
export const flows = (op: AnyOpSpec, inputs: Readonly<Record<string, Tensor>>): boolean =>
  op.differentiable.some((name) => inputs[name]?.requiresGrad);

export class Tape implements Recorder, Disposable {
  readonly #task: Task;
  #nodes: Node[] = [];
  /** Cheap ops by their output. */
  readonly #makers = new Map<Tensor, Node>();

  constructor(task: Task) {
    this.#task = task;
  }

  /** `live`: whether a gradient flows through the output; by default, whether one flows through an input. */
  record(
    op: AnyOpSpec,
    inputs: Readonly<Record<string, Tensor>>,
    output: Tensor,
    saved: Readonly<Record<string, Tensor>>,
    attributes: unknown,
    live = flows(op, inputs),
  ): void {
    if (!live) return;
    output.requiresGrad = true;
    const held: Record<string, Tensor> = {};
    const makers: Record<string, Node> = {};
    for (const [name, tensor] of Object.entries(saved)) {
      const maker = this.#makers.get(tensor);
      if (maker) makers[name] = maker;
      else held[name] = tensor.alias();
    }
    const node: Node = { op, inputs, output, saved: held, makers, attributes, remade: null };
    this.#nodes.push(node);
    if (op.cheap) this.#makers.set(output, node);
  }

  /**
   * Walks from `output` to the parameters, adding to each parameter's `grad`.
   * `cotangent` has the output's shape; an output of one element needs none: it is 1. The tape is empty afterwards.
   */
  backward(output: Tensor, cotangent = this.#one(output)): void {
    if (!this.#nodes.some((node) => node.output === output)) {
      throw new Error(
        `backward: ${output.toString()} is not on this tape: it was not recorded, no parameter with an optimiser takes part in it, or the tape was walked already`,
      );
    }
    if (cotangent.length !== output.length) {
      throw new ShapeError(
        "backward",
        `cotangent [${cotangent.shape.join(", ")}] for [${output.shape.join(", ")}]`,
      );
    }
    const cotangents = new Map<Tensor, Tensor>([[output, cotangent.alias()]]);
    try {
      for (let node = this.#nodes.pop(); node; node = this.#nodes.pop()) {
        const dy = cotangents.get(node.output);
        cotangents.delete(node.output);
        try {
          if (dy) this.#step(node, dy, cotangents);
        } finally {
          dy?.dispose();
          release(node);
        }
      }
    } finally {
      for (const tensor of cotangents.values()) tensor.dispose();
      this.dispose();
    }
  }

  #one(output: Tensor): Tensor {
    if (output.length !== 1)
      throw new ShapeError("backward", `[${output.shape.join(", ")}] needs a cotangent of its shape`);
    return this.#task.tensor(Float32Array.of(1), output.shape, "one");
  }

  #step(node: Node, dy: Tensor, cotangents: Map<Tensor, Tensor>): void {
    using _scope = this.#task.scope();
    const { op, inputs, attributes } = node;
    const saved = this.#saved(node);
    const differentiable = new Set(op.differentiable);
    const wants = Object.fromEntries(
      Object.entries(inputs).map(([name, x]) => [name, differentiable.has(name) && x.requiresGrad]),
    );
    const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));
    const gradients = op.vjp(this.#task, dy, saved, attributes, wants, shapes);
    for (const [name, input] of Object.entries(inputs)) {
      if (!wants[name]) continue;
      const given = gradients[name];
      if (!given || given.length !== input.length) {
        throw new ShapeError(
          `${op.name}.vjp`,
          `gradient of ${name} is [${given?.shape.join(", ") ?? "missing"}]`,
        );
      }
      const gradient = this.#task.alias(given, input.shape); // reshape returns its own cotangent
      if (input.grad) this.#add(gradient, input.grad);
      else this.#accumulate(input, gradient, cotangents);
    }
  }

  /** What a node saved; outputs of cheap ops are made again at the first use. */
  #saved(node: Node): Readonly<Record<string, Tensor>> {
    const saved = { ...node.saved };
    for (const [name, maker] of Object.entries(node.makers)) {
      maker.remade ??= maker.op.forward(this.#task, this.#saved(maker), maker.attributes).output.alias();
      saved[name] = maker.remade;
    }
    return saved;
  }

  #accumulate(input: Tensor, gradient: Tensor, cotangents: Map<Tensor, Tensor>): void {
    const sum = cotangents.get(input);
    if (!sum) {
      cotangents.set(input, gradient.alias());
    } else if (sum.storage.references === 1) {
      this.#add(gradient, sum);
    } else {
      // The same memory is used elsewhere (a residual hands one cotangent to both branches): add out of place.
      const total = this.#task.run(add, { a: sum, b: gradient }, { alpha: 1 }).y;
      cotangents.set(input, total.alias());
      sum.dispose();
    }
  }

  #add(x: Tensor, y: Tensor): void {
    this.#task.run(accumulate, { x, y }, { alpha: 1 });
  }

  /** Releases everything saved. */
  dispose(): void {
    for (const node of this.#nodes) release(node);
    this.#nodes = [];
    this.#makers.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function release(node: Node): void {
  for (const tensor of Object.values(node.saved)) tensor.dispose();
  node.remade?.dispose();
}
