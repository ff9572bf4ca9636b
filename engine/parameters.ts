/**
 * Trainable parameters in one flat buffer, so that the optimiser, the norm and zeroing are one kernel each however many tensors
 * there are. Each parameter is a view, aligned for every device; padding stays zero. Gradients are the optimiser's
 * (optim/adamw.ts): without one there is no memory for them.
 */
import type { Device } from "./device.ts";
import { DisposableStack } from "./disposables.ts";
import { BadInputError } from "./errors.ts";
import { at } from "../kernels/base/at.ts";
import { type Shape, elements } from "../kernels/base/shape.ts";
import { type Tensor, allocate } from "./tensor.ts";

export interface ParameterSpec {
  readonly name: string;
  readonly shape: Shape;
}

/** Where a parameter lies in the flat buffer: elements from `start` to before `end`, its padding included. */
export interface ParameterRange {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** Revisions given so far, of all parameters: none is given twice. */
let revisions = 0;

export class Parameters implements Disposable {
  readonly device: Device;
  readonly specs: readonly ParameterSpec[];
  /** Of each parameter, one after the other. */
  readonly ranges: readonly ParameterRange[];
  /** All parameters one after the other, [N] with padding. */
  readonly values: Tensor;
  #revision = ++revisions;
  readonly #views: ReadonlyMap<string, Tensor>;
  readonly #owned: DisposableStack;

  /** All zero. Shared by tasks; the caller disposes of them. */
  constructor(device: Device, specs: readonly ParameterSpec[]) {
    using stack = new DisposableStack();
    this.device = device;
    this.specs = specs;
    let length = 0;
    this.ranges = specs.map(({ name, shape }) => {
      const start = length;
      length += aligned(shape, device.viewAlignment);
      return { name, start, end: length };
    });
    this.values = stack.use(allocate(device, [length], "f32", "parameters"));
    device.write(this.values.view, new Float32Array(length));
    this.#views = this.#divide(this.values, stack);
    this.#owned = stack.move();
  }

  /** A new number after every change of the values, and never that of other parameters. */
  get revision(): number {
    return this.#revision;
  }

  /** To be called after a change of `values` on the device. */
  changed(): void {
    this.#revision = ++revisions;
  }

  /** The parameter, in its shape; throws BadInputError for an unknown name. */
  get(name: string): Tensor {
    const tensor = this.#views.get(name);
    if (!tensor) throw new BadInputError(`no parameter is called ${name}`);
    return tensor;
  }

  /** Writes a parameter's values, in row-major order. */
  set(name: string, values: Float32Array): void {
    const { view } = this.get(name);
    if (values.length !== view.length)
      throw new BadInputError(`${name} holds ${view.length} values, not ${values.length}`);
    this.device.write(view, values);
    this.changed();
  }

  /** Writes all of them, in the layout of `values`. */
  replace(values: Float32Array): void {
    if (values.length !== this.values.length)
      throw new BadInputError(`the state holds ${values.length} values, this adapter ${this.values.length}`);
    this.device.write(this.values.view, values);
    this.changed();
  }

  /** Makes gradients accumulate in `gradients` [N] until the returned object is disposed of. One optimiser at a time. */
  accumulateIn(gradients: Tensor): Disposable {
    using stack = new DisposableStack();
    const parts = this.#divide(gradients, stack);
    for (const [name, view] of this.#views) {
      if (view.grad) throw new Error(`parameter ${name} has an optimiser already`);
      view.requiresGrad = true;
      view.grad = parts.get(name) ?? null;
      stack.defer(() => {
        view.requiresGrad = false;
        view.grad = null;
      });
    }
    return stack.move();
  }

  /** The parts of a flat buffer that belong to the parameters, by name. */
  #divide(flat: Tensor, stack: DisposableStack): ReadonlyMap<string, Tensor> {
    return new Map(
      this.ranges.map(({ name, start }, i) => [name, stack.use(flat.alias(at(this.specs, i).shape, start))]),
    );
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Elements that a parameter takes, padding included. */
function aligned(shape: Shape, align: number): number {
  return Math.ceil(elements(shape) / align) * align;
}
