/**
 * AdamW with global-norm clipping over all parameters at once. Loshchilov & Hutter 2019,
 * https://arxiv.org/abs/1711.05101, in torch.optim.AdamW's order of operations; the norm never leaves the device.
 */
import { adamw } from "../../kernels/adamw/adamw.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { sum, sum_squares } from "../../kernels/sum/sum.ts";
import type { Parameters } from "../parameters.ts";
import type { Tensor } from "../tensor.ts";

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
  /** Largest global gradient norm; 0 = no clipping. */
  readonly clip: number;
}

export class AdamW {
  /** First and second moments, laid out as the parameters' flat buffer. */
  readonly m: Tensor;
  readonly v: Tensor;
  /** Steps taken. */
  steps = 0;
  readonly #parameters: Parameters;
  readonly #options: AdamWOptions;

  constructor(parameters: Parameters, options: AdamWOptions) {
    this.#parameters = parameters;
    this.#options = options;
    const { task, values } = parameters;
    using scope = task.scope();
    this.m = scope.detach(task.empty(values.shape, "f32", "adamw.m"));
    this.v = scope.detach(task.empty(values.shape, "f32", "adamw.v"));
    this.reset();
  }

  reset(): void {
    this.steps = 0;
    for (const y of [this.m, this.v]) this.#parameters.task.run(fill, {}, { value: 0 }, { into: { y } });
  }

  /** One step with learning rate `lr` from the gradients as they stand. */
  step(lr: number): void {
    this.steps++;
    const { task, values, gradients } = this.#parameters;
    const { beta1, beta2, eps, weight_decay, clip } = this.#options;
    using _scope = task.scope();
    const { partial } = task.run(sum_squares, { x: gradients }, {});
    const norm2 = task.run(sum, { x: partial }, {}).y;
    const bias1 = 1 - beta1 ** this.steps;
    const bias2 = 1 - beta2 ** this.steps;
    task.run(
      adamw,
      { g: gradients, norm2, p: values, m: this.m, v: this.v },
      { lr, beta1, beta2, eps, weight_decay, bias1, bias2, clip },
    );
  }

  dispose(): void {
    this.m.dispose();
    this.v.dispose();
  }
}
