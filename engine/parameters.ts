/**
 * Trainable parameters in one flat buffer, their gradients in another: the optimiser, the norm and zeroing are one
 * kernel each however many tensors there are. Each parameter is a view, aligned for every device; padding stays zero.
 */
import { fill } from "../kernels/fill/fill.ts";
import type { Task } from "./task.ts";
import { BadInputError } from "./errors.ts";
import { type Shape, elements } from "../kernels/base/shape.ts";
import type { Tensor } from "./tensor.ts";

export interface ParameterSpec {
  readonly name: string;
  readonly shape: Shape;
}

export class Parameters {
  readonly task: Task;
  /** [N] with padding. */
  readonly values: Tensor;
  readonly gradients: Tensor;
  readonly specs: readonly ParameterSpec[];
  readonly #byName = new Map<string, Tensor>();

  /** All zero. Owned by the caller: dispose() when done. */
  constructor(task: Task, specs: readonly ParameterSpec[]) {
    this.task = task;
    this.specs = specs;
    const align = task.device.viewAlignment;
    const offsets: number[] = [];
    let total = 0;
    for (const { shape } of specs) {
      offsets.push(total);
      total += Math.ceil(elements(shape) / align) * align;
    }
    const scope = task.scope();
    this.values = scope.detach(task.empty([total], "f32", "parameters"));
    this.gradients = scope.detach(task.empty([total], "f32", "parameters.grad"));
    scope[Symbol.dispose]();
    for (const flat of [this.values, this.gradients]) task.run(fill, {}, { value: 0 }, { into: { y: flat } });
    specs.forEach(({ name, shape }, i) => {
      const value = this.values.alias(shape, offsets[i] ?? 0);
      value.requiresGrad = true;
      value.grad = this.gradients.alias(shape, offsets[i] ?? 0);
      this.#byName.set(name, value);
    });
  }

  get(name: string): Tensor {
    const tensor = this.#byName.get(name);
    if (!tensor) throw new BadInputError(`no parameter is called ${name}`);
    return tensor;
  }

  set(name: string, values: Float32Array): void {
    const { view } = this.get(name);
    if (values.length !== view.length)
      throw new BadInputError(`${name} holds ${view.length} values, not ${values.length}`);
    this.task.device.write(view, values);
  }

  zeroGradients(): void {
    this.task.run(fill, {}, { value: 0 }, { into: { y: this.gradients } });
  }

  dispose(): void {
    for (const tensor of this.#byName.values()) {
      tensor.grad?.dispose();
      tensor.dispose();
    }
    this.values.dispose();
    this.gradients.dispose();
  }
}
