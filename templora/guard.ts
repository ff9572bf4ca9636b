/**
 * What undoes an update that made the next chunk worse than it is with the frozen model by more than a margin (`guard` of a recipe): A and B,
 * moments and the optimiser's count of steps become what they were before it. There is one copy of them, so only the newest update can be undone.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Optimizer } from "../engine/optim/optimizer.ts";
import type { Parameters } from "../engine/parameters.ts";
import type { Task } from "../engine/task.ts";
import { type Tensor, allocate } from "../engine/tensor.ts";
import type { Recipe } from "./config.ts";
import {
  type TrainingArrays,
  type TrainingState,
  arraysLike,
  arraysOf,
  copyState,
  stateOf,
  writeState,
} from "./training_state.ts";

/** Throws where a recipe (null: nothing is learnt) has a guard, but not all that is learnt is `scored` by both models before. */
export function assertGuards(recipe: Recipe | null, scored: boolean): void {
  if (recipe && recipe.guard > 0 && !scored)
    throw new BadInputError(
      `guard ${recipe.guard}: it judges updates by the frozen model's scores of what is read, and here there are none ` +
        "(no baseline, or a text that the model writes); leave it out",
    );
}

export class Guard implements Disposable {
  readonly #task: Task;
  readonly #parameters: Parameters;
  readonly #optimizer: Optimizer;
  /** How much more than the frozen model's an adapter's loss may be, nats a token. */
  readonly #margin: number;
  /** As they were before the newest update. */
  readonly #kept: TrainingArrays;
  /** Steps then; null: there was no update yet. */
  #steps: number | null = null;
  readonly #owned: DisposableStack;

  /** `percent`: of perplexity. */
  constructor(task: Task, parameters: Parameters, optimizer: Optimizer, percent: number) {
    using stack = new DisposableStack();
    const { shape } = parameters.values;
    const make = (label: string): Tensor => stack.use(allocate(task.device, shape, "f32", label));
    this.#task = task;
    this.#parameters = parameters;
    this.#optimizer = optimizer;
    this.#margin = Math.log1p(percent / 100);
    this.#kept = arraysLike(arraysOf(parameters, optimizer), (name) => make(`guard.${name}`));
    this.#owned = stack.move();
  }

  /**
   * Called before an update with what the adapter and the frozen model gave to its chunk: sums over `tokens`, nats. Where the adapter was
   * too bad, undoes the update before this one; else keeps what this one begins from. Returns whether it has undone.
   */
  judge(lora: number, base: number, tokens: number): boolean {
    const { steps } = this.#optimizer;
    const now = arraysOf(this.#parameters, this.#optimizer);
    // a loss that is not finite ends the text, and is no judgement
    const worse = Number.isFinite(lora) && lora - base > tokens * this.#margin;
    const undone = worse && this.#steps !== null;
    if (undone) copyState(this.#task, this.#kept, now);
    else copyState(this.#task, now, this.#kept);
    if (undone) this.#parameters.changed();
    if (undone) this.#optimizer.steps = this.#steps ?? 0;
    else this.#steps = steps;
    return undone;
  }

  async snapshot(): Promise<TrainingState | null> {
    return this.#steps === null ? null : stateOf(this.#kept, this.#steps);
  }

  /** Becomes what `snapshot` was taken of. */
  restore(state: TrainingState | null): void {
    this.#steps = state && state.steps;
    if (state) writeState(this.#task, state, this.#kept);
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
