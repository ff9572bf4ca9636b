/**
 * An exponential moving average of what is learnt (`ema` of a recipe; Polyak & Juditsky 1992, https://doi.org/10.1137/0330046): it scores and
 * writes, while the newest values go on learning. It begins as they do.
 */
import type { Parameters } from "../engine/parameters.ts";
import type { Task } from "../engine/task.ts";
import { accumulate, add } from "../kernels/add/add.ts";
import { copy } from "../kernels/copy/copy.ts";
import type { Learnable } from "./learnable.ts";

export class Average implements Disposable {
  /** Has the average values. */
  readonly adapter: Learnable;
  readonly #task: Task;
  readonly #decay: number;

  /** Disposes of `adapter`, which has the values of the newest. */
  constructor(task: Task, adapter: Learnable, decay: number) {
    this.adapter = adapter;
    this.#task = task;
    this.#decay = decay;
  }

  /** To be called after a step: average += (1 − decay) · (newest − average). */
  follow({ values: newest }: Parameters): void {
    const { parameters } = this.adapter;
    using _scope = this.#task.scope();
    const { y: way } = this.#task.run(add, { a: newest, b: parameters.values }, { alpha: -1 });
    this.#task.run(accumulate, { x: way, y: parameters.values }, { alpha: 1 - this.#decay });
    parameters.changed();
  }

  /** Becomes what the newest values are. */
  begin({ values: x }: Parameters): void {
    const { parameters } = this.adapter;
    this.#task.run(copy, { x, y: parameters.values }, { from: 0, to: 0, count: x.length });
    parameters.changed();
  }

  [Symbol.dispose](): void {
    this.adapter.dispose();
  }
}
