/**
 * The tape: records ops as they run, walks them backward, and is the only place that adds gradients. Saved tensors are
 * held by reference count, so a scope that ends inside the forward frees everything the backward does not need; each
 * node lets go of its own as soon as the walk has passed it.
 */
import { accumulate, add } from "../kernels/add/add.ts";
import type { Engine } from "./engine.ts";
import { ShapeError } from "./errors.ts";
import type { AnyOpSpec } from "./op.ts";
import type { Tensor } from "./tensor.ts";

interface Node {
  readonly op: AnyOpSpec;
  /** Identities only: the memory of an input lives on only if it was saved. */
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly output: Tensor;
  /** Aliases that hold the memory. */
  readonly saved: Readonly<Record<string, Tensor>>;
  readonly attributes: unknown;
}

export class Tape {
  readonly #engine: Engine;
  #nodes: Node[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** `live`: a gradient flows through the output; by default, because it does through an input. */
  record(
    op: AnyOpSpec,
    inputs: Readonly<Record<string, Tensor>>,
    output: Tensor,
    saved: Readonly<Record<string, Tensor>>,
    attributes: unknown,
    live = op.differentiable.some((name) => inputs[name]?.requiresGrad),
  ): void {
    if (!live) return;
    output.requiresGrad = true;
    const held = Object.entries(saved).map(([name, tensor]) => [name, tensor.alias()] as const);
    this.#nodes.push({ op, inputs, output, saved: Object.fromEntries(held), attributes });
  }

  /**
   * Walks from `output` to the parameters, adding to each parameter's `grad`.
   * `cotangent` has the output's shape. The tape is empty afterwards.
   */
  backward(output: Tensor, cotangent: Tensor): void {
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
          releaseSaved(node);
        }
      }
    } finally {
      for (const tensor of cotangents.values()) tensor.dispose();
      this.dispose();
    }
  }

  #step({ op, inputs, saved, attributes }: Node, dy: Tensor, cotangents: Map<Tensor, Tensor>): void {
    using _scope = this.#engine.scope();
    const differentiable = new Set(op.differentiable);
    const wants = Object.fromEntries(
      Object.entries(inputs).map(([name, x]) => [name, differentiable.has(name) && x.requiresGrad]),
    );
    const gradients = op.vjp(this.#engine, dy, saved, attributes, wants);
    for (const [name, input] of Object.entries(inputs)) {
      if (!wants[name]) continue;
      const gradient = gradients[name];
      if (!gradient || gradient.length !== input.length) {
        throw new ShapeError(
          `${op.name}.vjp`,
          `gradient of ${name} is [${gradient?.shape.join(", ") ?? "missing"}]`,
        );
      }
      if (input.grad) this.#engine.run(accumulate, { x: gradient, y: input.grad }, { alpha: 1 });
      else this.#accumulate(input, gradient, cotangents);
    }
  }

  #accumulate(input: Tensor, gradient: Tensor, cotangents: Map<Tensor, Tensor>): void {
    const sum = cotangents.get(input);
    if (!sum) {
      cotangents.set(input, gradient.alias(input.shape)); // a reshape answers its own cotangent
    } else if (sum.storage.references === 1) {
      this.#engine.run(accumulate, { x: gradient, y: sum }, { alpha: 1 });
    } else {
      // Somebody else reads the same memory (a residual hands one cotangent to both branches): add out of place.
      const total = this.#engine.run(add, { a: sum, b: gradient }, {}, { shape: sum.shape }).y;
      cotangents.set(input, total.alias());
      sum.dispose();
    }
  }

  /** Lets go of everything saved. */
  dispose(): void {
    for (const node of this.#nodes) releaseSaved(node);
    this.#nodes = [];
  }
}

function releaseSaved(node: Node): void {
  for (const tensor of Object.values(node.saved)) tensor.dispose();
}
