/**
 * AdamW with global-norm clipping over all parameters at once. Loshchilov & Hutter 2019,
 * https://arxiv.org/abs/1711.05101, in torch.optim.AdamW's order of operations; the norm never leaves the device.
 * It owns the parameters' gradients and moments.
 */
import { type AdamWOptions, adamw, adamwParams } from "../../kernels/adamw/adamw.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { sum, sum_squares } from "../../kernels/sum/sum.ts";
import { DisposableStack } from "../disposables.ts";
import { BadInputError } from "../errors.ts";
import type { Parameters } from "../parameters.ts";
import type { Task } from "../task.ts";
import { type Tensor, allocate } from "../tensor.ts";

export type { AdamWOptions };

/** torch.optim.AdamW's, without clipping. */
const defaults: AdamWOptions = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 0 };

export class AdamW implements Disposable {
  /** Gradients, first and second moments, laid out as the parameters' flat buffer. */
  readonly gradients: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
  /** Steps taken. A step that the device skipped is counted until `skippedSteps` has read that it was. */
  steps = 0;
  /** f32[1]: how many steps the device has skipped. */
  readonly #skipped: Tensor;
  /** How many of them are taken off `steps` already. */
  #settled = 0;
  readonly #task: Task;
  readonly #parameters: Parameters;
  readonly #options: AdamWOptions;
  readonly #owned: DisposableStack;

  /** From here on gradients of `parameters` accumulate, on tapes of `task`. Throws BadInputError for options outside their ranges. */
  constructor(task: Task, parameters: Parameters, given: Partial<AdamWOptions> = {}) {
    const { beta1, beta2, eps, weight_decay, clip } = { ...defaults, ...given };
    for (const [name, sensible] of Object.entries({
      beta1: beta1 >= 0 && beta1 < 1,
      beta2: beta2 >= 0 && beta2 < 1,
      eps: eps > 0 && Number.isFinite(eps),
      weight_decay: weight_decay >= 0 && Number.isFinite(weight_decay),
      clip: clip >= 0 && Number.isFinite(clip),
    }))
      if (!sensible) throw new BadInputError(`AdamW: ${name} is outside its range`);
    using stack = new DisposableStack();
    this.#task = task;
    this.#parameters = parameters;
    this.#options = { beta1, beta2, eps, weight_decay, clip };
    const { device, values } = parameters;
    const make = (label: string, shape = values.shape): Tensor =>
      stack.use(allocate(device, shape, "f32", label));
    this.gradients = make("adamw.gradients");
    this.m = make("adamw.m");
    this.v = make("adamw.v");
    this.#skipped = make("adamw.skipped", [1]);
    this.zeroGradients();
    this.reset();
    stack.use(parameters.accumulateIn(this.gradients));
    this.#owned = stack.move();
  }

  zeroGradients(): void {
    this.#zero(this.gradients);
  }

  /** Sets the moments and the count of steps to zero. */
  reset(): void {
    this.steps = 0;
    this.#settled = 0;
    for (const y of [this.m, this.v, this.#skipped]) this.#zero(y);
  }

  #zero(y: Tensor): void {
    this.#task.run(fill, {}, { value: 0 }, { into: { y } });
  }

  /**
   * One step with learning rate `lr` from the gradients as they stand. Where they are not all finite, or the sum of their
   * squares is not, the device leaves parameters and moments as they are.
   */
  step(lr: number): void {
    if (!(lr >= 0) || !Number.isFinite(lr)) throw new BadInputError(`AdamW: a learning rate of ${lr}`);
    this.steps++;
    const task = this.#task;
    using _scope = task.scope();
    const { partial } = task.run(sum_squares, { x: this.gradients }, {});
    const norm2 = task.run(sum, { x: partial }, {}).y;
    const { m, v } = this;
    task.run(
      adamw,
      { g: this.gradients, norm2, p: this.#parameters.values, m, v, skipped: this.#skipped },
      adamwParams(this.#options, lr, this.steps),
    );
    this.#parameters.changed();
  }

  /**
   * How many steps were skipped since the last reset. Reads one number back and takes the skipped steps off `steps`. Awaited
   * between two steps (where the loss is read, say), it makes a skipped step count for nothing, as under torch.amp.GradScaler;
   * without it the bias corrections of later steps count it.
   */
  async skippedSteps(): Promise<number> {
    const skipped = await this.#skipped.item();
    this.steps -= skipped - this.#settled;
    this.#settled = skipped;
    return skipped;
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
