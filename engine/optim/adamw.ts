/**
 * AdamW with global-norm clipping over all parameters at once. Loshchilov & Hutter 2019,
 * https://arxiv.org/abs/1711.05101, in torch.optim.AdamW's order of operations; the norm never leaves the device.
 * It owns the parameters' gradients and moments.
 */
import { adamw } from "../../kernels/adamw/adamw.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { sum, sum_squares } from "../../kernels/sum/sum.ts";
import { DisposableStack } from "../disposables.ts";
import type { Parameters } from "../parameters.ts";
import type { Task } from "../task.ts";
import { type Tensor, allocate } from "../tensor.ts";

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
  /** Largest global gradient norm; 0 = no clipping. */
  readonly clip: number;
}

export class AdamW implements Disposable {
  /** Gradients, first and second moments, laid out as the parameters' flat buffer. */
  readonly gradients: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
  /** Steps taken. */
  steps = 0;
  readonly #task: Task;
  readonly #parameters: Parameters;
  readonly #options: AdamWOptions;
  readonly #owned: DisposableStack;

  /** From here on gradients of `parameters` accumulate, on tapes of `task`. */
  constructor(task: Task, parameters: Parameters, options: AdamWOptions) {
    using stack = new DisposableStack();
    this.#task = task;
    this.#parameters = parameters;
    this.#options = options;
    const { device, values } = parameters;
    const make = (label: string): Tensor => stack.use(allocate(device, values.shape, "f32", label));
    this.gradients = make("adamw.gradients");
    this.m = make("adamw.m");
    this.v = make("adamw.v");
    this.zeroGradients();
    this.reset();
    stack.use(parameters.accumulateIn(this.gradients));
    this.#owned = stack.move();
  }

  zeroGradients(): void {
    this.#zero(this.gradients);
  }

  /** Forgets the moments. */
  reset(): void {
    this.steps = 0;
    this.#zero(this.m);
    this.#zero(this.v);
  }

  #zero(y: Tensor): void {
    this.#task.run(fill, {}, { value: 0 }, { into: { y } });
  }

  /** One step with learning rate `lr` from the gradients as they stand. */
  step(lr: number): void {
    this.steps++;
    const task = this.#task;
    const { values } = this.#parameters;
    const { beta1, beta2, eps, weight_decay, clip } = this.#options;
    using _scope = task.scope();
    const { partial } = task.run(sum_squares, { x: this.gradients }, {});
    const norm2 = task.run(sum, { x: partial }, {}).y;
    const bias1 = 1 - beta1 ** this.steps;
    const bias2 = 1 - beta2 ** this.steps;
    task.run(
      adamw,
      { g: this.gradients, norm2, p: values, m: this.m, v: this.v },
      { lr, beta1, beta2, eps, weight_decay, bias1, bias2, clip },
    );
    this.#parameters.changed();
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
