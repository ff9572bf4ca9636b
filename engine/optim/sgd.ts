/**
 * Stochastic gradient descent with momentum and global-norm clipping: torch.optim.SGD's with dampening 0, but that the weight decay is
 * decoupled as AdamW's.
 */
import { accumulate } from "../../kernels/add/add.ts";
import { momentum } from "../../kernels/momentum/momentum.ts";
import type { Parameters } from "../parameters.ts";
import type { Task } from "../task.ts";
import type { Tensor } from "../tensor.ts";
import { Optimizer, type OptimizerOptions, type OptimizerRun } from "./optimizer.ts";

export interface SGDOptions extends OptimizerOptions {
  /** The share of the last direction that a step keeps. */
  readonly momentum: number;
}

export class SGD extends Optimizer {
  readonly #options: SGDOptions;

  /** From here on gradients of `parameters` accumulate, on tapes of `task`. Throws BadInputError for options outside their ranges. */
  constructor(task: Task, parameters: Parameters, given: Partial<SGDOptions> = {}) {
    const options = { momentum: 0, weight_decay: 0, clip: 0, ...given };
    const sensible = { momentum: options.momentum >= 0 && options.momentum < 1 };
    super(task, parameters, options, { name: "SGD", secondMoment: false, sensible });
    this.#options = options;
  }

  protected override update(
    { values: p, gradients: g, m, skipped }: OptimizerRun,
    norm2: Tensor,
    lr: number,
  ): void {
    const { momentum: beta, weight_decay, clip } = this.#options;
    const params = { decay: lr * weight_decay, beta, own: 0, kept: 1, clip };
    const { u } = this.task.run(momentum, { g, norm2, p, m, skipped }, params);
    this.task.run(accumulate, { x: u, y: p }, { alpha: -lr });
  }
}
