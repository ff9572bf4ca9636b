/**
 * What all optimisers share: gradients and moments laid out as the parameters' flat buffer, the global norm, which never leaves the
 * device, steps that the device skips where gradients are not finite, and rates of their own for some parameters.
 */
import { at } from "../../kernels/base/at.ts";
import type { Shape } from "../../kernels/base/shape.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { sum, sum_squares } from "../../kernels/sum/sum.ts";
import { DisposableStack } from "../disposables.ts";
import { BadInputError } from "../errors.ts";
import type { Parameters } from "../parameters.ts";
import type { Task } from "../task.ts";
import { type Tensor, allocate } from "../tensor.ts";

export interface OptimizerOptions {
  /** Decoupled: the share of the rate that a value loses at each step. */
  readonly weight_decay: number;
  /** Largest global gradient norm; 0 = no clipping. */
  readonly clip: number;
  /** A parameter's rate, in times of a step's; default: 1 for each. */
  readonly rateOf?: (name: string) => number;
}

/** What an optimiser is, beside its options. */
export interface OptimizerKind {
  readonly name: string;
  readonly secondMoment: boolean;
  /** Whether each of its own options is inside its range. */
  readonly sensible: Readonly<Record<string, boolean>>;
}

/** Parameters that lie one after the other and have one rate: [n] each, parts of the flat buffers. */
export interface OptimizerRun {
  /** Where each parameter begins in the run, and its shape. */
  readonly parameters: readonly { readonly name: string; readonly start: number; readonly shape: Shape }[];
  /** In times of the step's rate. */
  readonly rate: number;
  readonly values: Tensor;
  readonly gradients: Tensor;
  readonly m: Tensor;
  readonly v: Tensor | null;
  /** f32[1]: where a kernel counts a skipped step. */
  readonly skipped: Tensor;
}

export abstract class Optimizer implements Disposable {
  /** Gradients, first and second moments, laid out as the parameters' flat buffer; v is null where there are no second ones. */
  readonly gradients: Tensor;
  readonly m: Tensor;
  readonly v: Tensor | null;
  /** Steps taken. A step that the device skipped is counted until `skippedSteps` has read that it was. */
  steps = 0;
  protected readonly task: Task;
  protected readonly parameters: Parameters;
  readonly #name: string;
  readonly #runs: readonly OptimizerRun[];
  /** f32[1]: how many steps the device has skipped. */
  readonly #skipped: Tensor;
  /** How many of them are taken off `steps` already. */
  #settled = 0;
  readonly #owned: DisposableStack;

  /**
   * From here on gradients of `parameters` accumulate, on tapes of `task`. Throws BadInputError, which names it, for an option outside
   * its range.
   */
  constructor(
    task: Task,
    parameters: Parameters,
    { weight_decay, clip, rateOf = () => 1 }: OptimizerOptions,
    { name, secondMoment, sensible }: OptimizerKind,
  ) {
    const all = {
      ...sensible,
      weight_decay: weight_decay >= 0 && Number.isFinite(weight_decay),
      clip: clip >= 0 && Number.isFinite(clip),
    };
    for (const [option, inside] of Object.entries(all))
      if (!inside) throw new BadInputError(`${name}: ${option} is outside its range`);
    using stack = new DisposableStack();
    this.#name = name;
    this.task = task;
    this.parameters = parameters;
    const { device, values } = parameters;
    const make = (label: string, shape = values.shape): Tensor =>
      stack.use(allocate(device, shape, "f32", `${name.toLowerCase()}.${label}`));
    this.gradients = make("gradients");
    this.m = make("m");
    this.v = secondMoment ? make("v") : null;
    this.#skipped = make("skipped", [1]);
    this.#runs = this.#divide(rateOf, () => make("ignored", [1]), stack);
    this.zeroGradients();
    this.reset();
    stack.use(parameters.accumulateIn(this.gradients));
    this.#owned = stack.move();
  }

  /** The fewest runs. Only the first one's kernel counts skipped steps for all. */
  #divide(rateOf: (name: string) => number, ignored: () => Tensor, stack: DisposableStack): OptimizerRun[] {
    type Part = OptimizerRun["parameters"][number];
    const ranges: { rate: number; start: number; end: number; parameters: Part[] }[] = [];
    for (const [i, { name, start, end }] of this.parameters.ranges.entries()) {
      const rate = rateOf(name);
      const { shape } = at(this.parameters.specs, i);
      const last = ranges.at(-1);
      if (last?.rate === rate) {
        last.end = end;
        last.parameters.push({ name, start: start - last.start, shape });
      } else ranges.push({ rate, start, end, parameters: [{ name, start: 0, shape }] });
    }
    const others = ranges.length > 1 ? ignored() : this.#skipped;
    return ranges.map(({ rate, start, end, parameters }, i) => {
      const part = (whole: Tensor): Tensor => stack.use(whole.alias([end - start], start));
      return {
        parameters,
        rate,
        values: part(this.parameters.values),
        gradients: part(this.gradients),
        m: part(this.m),
        v: this.v && part(this.v),
        skipped: i === 0 ? this.#skipped : others,
      };
    });
  }

  zeroGradients(): void {
    this.#zero(this.gradients);
  }

  /** Sets the moments and the count of steps to zero. */
  reset(): void {
    this.steps = 0;
    this.#settled = 0;
    for (const y of [this.m, this.v, this.#skipped]) if (y) this.#zero(y);
  }

  #zero(y: Tensor): void {
    this.task.run(fill, {}, { value: 0 }, { into: { y } });
  }

  /**
   * One step with learning rate `lr` from the gradients as they stand. Where they are not all finite, or the sum of their
   * squares is not, the device leaves parameters and moments as they are.
   */
  step(lr: number): void {
    if (!(lr >= 0) || !Number.isFinite(lr))
      throw new BadInputError(`${this.#name}: a learning rate of ${lr}`);
    this.steps++;
    using _scope = this.task.scope();
    const { partial } = this.task.run(sum_squares, { x: this.gradients }, {});
    const norm2 = this.task.run(sum, { x: partial }, {}).y;
    for (const run of this.#runs) this.update(run, norm2, lr * run.rate);
    this.parameters.changed();
  }

  /** Changes a run's values and moments. `norm2`: f32[1], the sum of all gradients' squares. */
  protected abstract update(run: OptimizerRun, norm2: Tensor, lr: number): void;

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
