/**
 * What a step on some tokens minimises: the mean loss of those that are to be learnt, each with what a recipe adds to it. A pass is
 * recorded and its losses are read, for they may be scores, or too small for a step; only then the rest of the loss is computed, and the
 * gradient is added to what the step has gathered.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { type Tape, record } from "../engine/tape.ts";
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { fill } from "../kernels/fill/fill.ts";
import type { KVCache } from "../model/kv_cache.ts";
import type { Llama, Pass } from "../model/llama.ts";
import { Anchor } from "./anchor.ts";
import type { Sequence } from "./chunks.ts";
import type { Recipe } from "./config.ts";
import type { ContextOptions } from "./context.ts";
import { losses, states, totalOf } from "./scoring.ts";

/** A pass over a sequence, of which the gradient can be had once. */
export interface Recorded {
  readonly sequence: Sequence;
  /** Losses of the targets [T], nats. */
  readonly nll: Tensor;
  /** The states [T, D] that predict them; null where nothing else asks for them. */
  readonly hidden: Tensor | null;
  readonly tape: Tape;
}

export class Objective implements Disposable {
  readonly anchor: Anchor | null;
  readonly #task: Task;
  readonly #model: Llama;
  readonly #recipe: Recipe;
  readonly #owned: DisposableStack;

  constructor(task: Task, model: Llama, recipe: Recipe, context: ContextOptions) {
    using stack = new DisposableStack();
    this.#task = task;
    this.#model = model;
    this.#recipe = recipe;
    const cached = recipe.context_grad ? null : context;
    this.anchor = recipe.kl > 0 ? stack.use(new Anchor(task, model, recipe.kl, cached)) : null;
    this.#owned = stack.move();
  }

  /** Runs a pass; the caller's scope owns its tensors, and the caller disposes of the tape. */
  record(sequence: Sequence, context: KVCache | null, pass: Pass): Recorded {
    const [task, model] = [this.#task, this.#model];
    const { result, tape } = record(task, () => {
      if (!this.anchor) return { nll: losses(task, model, sequence, context, pass), hidden: null };
      const hidden = states(task, model, sequence, context, pass);
      return { nll: model.nll(hidden, sequence.targets), hidden };
    });
    return { sequence, ...result, tape };
  }

  /** Whether a step is taken where the targets' losses are `each`. */
  asksForStep(each: Float32Array): boolean {
    const total = totalOf(each);
    return Number.isFinite(total) && total >= this.#recipe.skip_below * each.length;
  }

  /**
   * Adds `weight` times the gradient of the mean over the tokens that are to be learnt. `each`: the losses; `chunk`: what the sequence
   * is a part of, null: it stands alone. Returns whether there are such tokens.
   */
  backward(
    { sequence, nll, hidden, tape }: Recorded,
    each: Float32Array,
    chunk: Sequence | null,
    weight: number,
  ): boolean {
    const { anchor } = this;
    const learnt = tokensToLearn(each, this.#recipe.learn_below);
    let loss = nll;
    if (anchor && hidden) {
      const frozen = anchor.read(sequence, chunk);
      loss = this.#task.recording(tape, () => anchor.add(nll, hidden, frozen));
    }
    tape.backward(loss, share(this.#task, learnt, weight));
    return learnt.includes(1);
  }

  /** The same of a sequence that stands alone, in a pass of its own. */
  async add(sequence: Sequence, pass: Pass, weight: number): Promise<boolean> {
    using _scope = this.#task.scope();
    const recorded = this.record(sequence, null, pass);
    using _tape = recorded.tape;
    return this.backward(recorded, await recorded.nll.data(), null, weight);
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

/** 1 for each token that got a probability smaller than `below`; all where that is 1. */
function tokensToLearn(losses: Float32Array, below: number): Float32Array {
  return losses.map((loss) => Number(below === 1 || loss > -Math.log(below)));
}

/** The gradient of `weight` times the mean loss of the chosen tokens by each token's loss [count]. */
function share(task: Task, chosen: Float32Array, weight: number): Tensor {
  const [{ length: count }, some] = [chosen, totalOf(chosen)];
  if (some < count)
    return task.tensor(
      chosen.map((one) => (weight * one) / Math.max(1, some)),
      [count],
    );
  return task.run(fill, {}, { value: weight / count }, { into: { y: task.empty([count]) } }).y;
}
