/**
 * AdamW with global-norm clipping over all parameters at once. Loshchilov & Hutter 2019,
 * https://arxiv.org/abs/1711.05101, in torch.optim.AdamW's order of operations.
 */
import { type AdamWOptions, adamw, adamwParams } from "../../kernels/adamw/adamw.ts";
import type { Parameters } from "../parameters.ts";
import type { Task } from "../task.ts";
import type { Tensor } from "../tensor.ts";
import { Optimizer, type OptimizerOptions, type OptimizerRun } from "./optimizer.ts";

export type { AdamWOptions };

/** torch.optim.AdamW's, without clipping. */
const defaults: AdamWOptions = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 0 };

export class AdamW extends Optimizer {
  declare readonly v: Tensor;
  readonly #options: AdamWOptions;

  /** From here on gradients of `parameters` accumulate, on tapes of `task`. Throws BadInputError for options outside their ranges. */
  constructor(task: Task, parameters: Parameters, given: Partial<AdamWOptions & OptimizerOptions> = {}) {
    const options = { ...defaults, ...given };
    const { beta1, beta2, eps } = options;
    const sensible = {
      beta1: beta1 >= 0 && beta1 < 1,
      beta2: beta2 >= 0 && beta2 < 1,
      eps: eps > 0 && Number.isFinite(eps),
    };
    super(task, parameters, options, { name: "AdamW", secondMoment: true, sensible });
    this.#options = options;
  }

  protected override update(
    { values: p, gradients: g, m, v, skipped }: OptimizerRun,
    norm2: Tensor,
    lr: number,
  ): void {
    if (!v) throw new Error("AdamW has second moments");
    this.task.run(adamw, { g, norm2, p, m, v, skipped }, adamwParams(this.#options, lr, this.steps));
  }
}
