/** The optimisers that a recipe may name: a line each. */
import { AdamW } from "../engine/optim/adamw.ts";
import { Muon } from "../engine/optim/muon.ts";
import type { Optimizer } from "../engine/optim/optimizer.ts";
import { SGD } from "../engine/optim/sgd.ts";
import type { Parameters } from "../engine/parameters.ts";
import type { Task } from "../engine/task.ts";
import type { OptimizerName, TrainingConfig } from "./config.ts";

/** The first moment's decay is the momentum of those that have no other. */
const makers: Readonly<
  Record<OptimizerName, (...args: [Task, Parameters, TrainingConfig, (name: string) => number]) => Optimizer>
> = {
  adamw: (task, parameters, config, rateOf) => new AdamW(task, parameters, { ...config, rateOf }),
  sgd: (task, parameters, config, rateOf) =>
    new SGD(task, parameters, { ...config, momentum: config.beta1, rateOf }),
  muon: (task, parameters, config, rateOf) =>
    new Muon(task, parameters, { ...config, momentum: config.beta1, rateOf }),
};

/** A recipe's optimiser of an adapter's parameters; B learns at loraplus_lr_ratio times A's rate (Hayou et al. 2024, https://arxiv.org/abs/2402.12354). */
export function makeOptimizer(task: Task, parameters: Parameters, config: TrainingConfig): Optimizer {
  const rateOf = (name: string): number => (name.endsWith(".B") ? config.loraplus_lr_ratio : 1);
  return makers[config.optimizer](task, parameters, config, rateOf);
}
