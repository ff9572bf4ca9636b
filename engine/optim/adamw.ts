/**
 * AdamW with global-norm clipping over all parameters at once. Loshchilov & Hutter 2019,
 * https://arxiv.org/abs/1711.05101, in torch.optim.AdamW's order of operations; the norm never leaves the device.
 */
import { type AdamWOptions, adamw, adamwParams } from "../../kernels/adamw/adamw.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { sum, sum_squares } from "../../kernels/sum/sum.ts";
import type { Parameters } from "../parameters.ts";
import type { Tensor } from "../tensor.ts";

export type { AdamWOptions };

export class AdamW {
  /** First and second moments, laid out as the parameters' flat buffer. */
  readonly m: Tensor;
  readonly v: Tensor;
  /** Steps taken. One that the device skipped counts until `skippedSteps` has read of it. */
  steps = 0;
  /** How many steps the device skipped, and how many of them are taken off `steps`. */
  readonly #skipped: Tensor;
  #settled = 0;
  readonly #parameters: Parameters;
  readonly #options: AdamWOptions;

  constructor(parameters: Parameters, options: AdamWOptions) {
    this.#parameters = parameters;
    this.#options = options;
    const { task, values } = parameters;
    using scope = task.scope();
    this.m = scope.detach(task.empty(values.shape, "f32", "adamw.m"));
    this.v = scope.detach(task.empty(values.shape, "f32", "adamw.v"));
    this.#skipped = scope.detach(task.empty([1], "f32", "adamw.skipped"));
    this.reset();
  }

  reset(): void {
    this.steps = 0;
    this.#settled = 0;
    for (const y of [this.m, this.v, this.#skipped])
      this.#parameters.task.run(fill, {}, { value: 0 }, { into: { y } });
  }

  /**
   * One step with learning rate `lr` from the gradients as they stand. Where they are not all finite, or the sum of their
   * squares is not, the device leaves parameters and moments as they are.
   */
  step(lr: number): void {
    this.steps++;
    const { task, values, gradients } = this.#parameters;
    using _scope = task.scope();
    const { partial } = task.run(sum_squares, { x: gradients }, {});
    const norm2 = task.run(sum, { x: partial }, {}).y;
    task.run(
      adamw,
      { g: gradients, norm2, p: values, m: this.m, v: this.v, skipped: this.#skipped },
      adamwParams(this.#options, lr, this.steps),
    );
  }

  /**
   * How many steps were skipped since the last reset. Reads one number back and takes them off `steps`: awaited after a step
   * and before the next (where the loss is read, say), it makes a skipped step count for nothing, as under torch.amp.GradScaler;
   * without it the bias corrections of later steps are a little further on.
   */
  async skippedSteps(): Promise<number> {
    const [skipped = 0] = await this.#parameters.task.read(this.#skipped);
    this.steps -= skipped - this.#settled;
    this.#settled = skipped;
    return skipped;
  }

  dispose(): void {
    this.m.dispose();
    this.v.dispose();
    this.#skipped.dispose();
  }
}
