/**
 * One chunk of Temp-LoRA: score it with the adapter as it is, then take the optimiser steps on it. Scoring always comes
 * before training on the same tokens. Without dropout the scoring pass is the first step's forward pass, so it is run once.
 */
import { DisposableStack } from "../engine/disposables.ts";
import type { Optimizer } from "../engine/optim/optimizer.ts";
import { record } from "../engine/tape.ts";
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { fill } from "../kernels/fill/fill.ts";
import type { KVCache } from "../model/kv_cache.ts";
import type { Llama, Pass } from "../model/llama.ts";
import { type Learnable, learnable } from "./learnable.ts";
import { type Sequence, partsOf } from "./chunks.ts";
import { type Recipe, checkRecipe, dropsOut, learningRate } from "./config.ts";
import { type ContextOptions, type ContextSnapshot, FrozenContext } from "./context.ts";
import { Guard } from "./guard.ts";
import { type NeighbourOptions, Neighbours, type NeighboursSnapshot } from "./neighbours.ts";
import { nonFinite } from "./nonfinite.ts";
import { makeOptimizer } from "./optimizers.ts";
import type { Stopwatch } from "./stopwatch.ts";
import type { StoredAdapter } from "./stored_adapter.ts";
import { type TrainingState, arraysOf, assertFits, stateOf, writeState } from "./training_state.ts";

/**
 * Sum of the negative log-likelihoods of a sequence's targets, nats, in float64. `adapter` null = the base model.
 * With `context`, keys and values of the inputs before the chunk come from that cache.
 */
export async function score(
  task: Task,
  model: Llama,
  sequence: Sequence,
  adapter: Learnable | null,
  context: KVCache | null = null,
): Promise<number> {
  return totalOf(await scores(task, model, sequence, adapter, context));
}

/** The negative log-likelihood of each of a sequence's targets, nats; as `score` otherwise. With `memory`, its share is in them. */
export async function scores(
  task: Task,
  model: Llama,
  sequence: Sequence,
  adapter: Learnable | null,
  context: KVCache | null = null,
  memory: Neighbours | null = null,
): Promise<Float32Array> {
  if (sequence.targets.length === 0) return new Float32Array();
  using _scope = task.scope();
  const each = await losses(task, model, sequence, context, { adapter, ...watching(memory) }).data();
  if (!Number.isFinite(totalOf(each))) throw await nonFinite(NO_LOSS, task, model, sequence.inputs, adapter);
  return memory ? await memory.mix(each, sequence.targets) : each;
}

/** What lets a memory see the hidden states of a pass. */
export function watching(memory: Neighbours | null): Pick<Pass, "watch"> {
  return memory ? { watch: (x, part) => void (part === "norm" && memory.watch(x)) } : {};
}

const NO_LOSS = "the loss is not finite";

/** Whether the training's first pass is the scoring pass as well: over the same tokens, without dropout, all of them at once. */
export function scoresFirst(recipe: Recipe, scored: Sequence, trained: Sequence): boolean {
  const whole = partsOf(trained, recipe.step_tokens).length === 1;
  return whole && scored.context === trained.context && !dropsOut(recipe);
}

/** The negative log-likelihood of each of a sequence's targets with the base model, nats. */
export async function tokenLosses(task: Task, model: Llama, sequence: Sequence): Promise<Float32Array> {
  using _scope = task.scope();
  return await losses(task, model, sequence, null, { adapter: null }).data();
}

export interface LearnerOptions {
  /** Used when the recipe's `context_grad` is off: the context is cached then. */
  readonly context: ContextOptions;
  /** How many of the first layers compute their activations again in the backward; default 0. */
  readonly checkpointLayers?: number;
  /** What the adapter begins as; default: a fresh one. */
  readonly adapter?: StoredAdapter | null;
  /** A memory that has a share in the scores; default: none. */
  readonly neighbours?: NeighbourOptions | null;
}

/** What a learner is between two chunks. */
export interface LearnerSnapshot extends TrainingState {
  /** Chunks trained on. */
  readonly chunks: number;
  /** What undoing the newest update brings back; null without a guard, and before the first update. */
  readonly kept: TrainingState | null;
  /** Null when the recipe's `context_grad` is on. */
  readonly context: ContextSnapshot | null;
  /** Null where there is no memory. */
  readonly neighbours: NeighboursSnapshot | null;
}

export interface TrainedChunk {
  /** Of each scored token with the adapter as it was before training, nats; null when nothing was to be scored. */
  readonly scores: Float32Array | null;
  /** Mean loss before each optimiser step, nats a token. */
  readonly train_loss: readonly number[];
  readonly lr: number;
  /** Optimiser steps that were skipped because their gradients were not finite. */
  readonly skipped_steps: number;
  /** 1 where the update before this one was undone, else 0; only where the recipe has a guard. */
  readonly undone?: number;
}

/** The adapter of one text and its optimiser. */
export class TempLora implements Disposable {
  readonly adapter: Learnable;
  readonly optimizer: Optimizer;
  /** Chunks trained on. */
  chunks = 0;
  readonly #task: Task;
  readonly #model: Llama;
  readonly #recipe: Recipe;
  readonly #frozen: FrozenContext | null;
  readonly #checkpointLayers: number;
  readonly #neighbours: Neighbours | null;
  readonly #guard: Guard | null;
  /** Skipped optimiser steps, of all chunks. */
  #skipped = 0;
  readonly #owned: DisposableStack;

  constructor(task: Task, model: Llama, recipe: Recipe, seed: number, options: LearnerOptions) {
    checkRecipe(recipe);
    using stack = new DisposableStack();
    this.#task = task;
    this.#model = model;
    this.#recipe = recipe;
    this.#checkpointLayers = options.checkpointLayers ?? 0;
    this.adapter = stack.use(learnable(model, recipe, seed, options.adapter));
    this.optimizer = stack.use(makeOptimizer(task, this.adapter.parameters, recipe));
    this.#frozen = recipe.context_grad ? null : stack.use(new FrozenContext(task, model, options.context));
    this.#neighbours = options.neighbours
      ? stack.use(new Neighbours(task, model.config.hidden_size, options.neighbours))
      : null;
    const { parameters } = this.adapter;
    this.#guard =
      recipe.guard > 0 ? stack.use(new Guard(task, parameters, this.optimizer, recipe.guard)) : null;
    this.#owned = stack.move();
  }

  /**
   * Scores `scored` (null: not wanted), then trains on `trained`, which may have another context. Each pass is a unit of work,
   * whose time and arithmetic are booked on `watch`. Throws when the loss is not finite.
   * `base`: what the frozen model gave to `scored`, nats in all, for a guard. Where that undoes an update, the chunk is learnt from there,
   * in a forward pass of its own; its scores, and its states in a memory, stay those of the adapter that is no more.
   */
  async learn(
    scored: Sequence | null,
    trained: Sequence,
    watch: Stopwatch,
    base: number | null = null,
  ): Promise<TrainedChunk> {
    const lr = learningRate(this.#recipe, this.chunks);
    const [task, model, adapter] = [this.#task, this.#model, this.adapter];
    const epochs = trained.targets.length > 0 ? this.#recipe.epochs : 0;
    const sameContext = scored?.context === trained.context;
    const parts = partsOf(trained, this.#recipe.step_tokens);
    const shared = scored !== null && epochs > 0 && scoresFirst(this.#recipe, scored, trained);
    let context: KVCache | null = null;
    const readContext = (): void => {
      context ??= epochs > 0 ? (this.#frozen?.prepare(trained, adapter) ?? null) : null;
    };
    const guard = epochs > 0 ? this.#guard : null;
    const several = epochs > 1 || this.#recipe.step_tokens > 0;
    if (guard && (!scored || base === null)) throw new Error("a guard needs the scores of both models");
    const found: { scores: Float32Array | null; undone: boolean } = { scores: null, undone: false };
    const take = (each: Float32Array): boolean => {
      found.scores = each;
      found.undone = guard?.judge(totalOf(each), base ?? NaN, each.length) ?? false;
      if (found.undone) {
        const filled = context !== null;
        readContext();
        this.#frozen?.undo(trained, adapter, filled, several);
      }
      return found.undone;
    };
    if (scored && !shared) {
      await task.unit(async () => {
        if (sameContext) readContext();
        const each = await scores(task, model, scored, adapter, context, this.#neighbours);
        watch.book("score");
        take(each);
      });
    }
    const train_loss: number[] = [];
    const skippedBefore = this.#skipped;
    for (let epoch = 0; epoch < epochs; epoch++) {
      for (const part of parts) {
        const step = (forwardIs: "score" | "train"): Promise<Float32Array> =>
          task.unit(async () => {
            readContext();
            const { steps } = this.optimizer;
            const each = await this.#step(part, context, lr, watch, forwardIs, take);
            if (!Number.isFinite(totalOf(each)))
              throw await nonFinite(NO_LOSS, task, model, part.inputs, adapter, steps);
            return each;
          });
        const scoring = shared && epoch === 0;
        let each = await step(scoring ? "score" : "train");
        if (scoring && found.undone) each = await step("train");
        watch.book("train");
        train_loss.push(totalOf(each) / part.targets.length);
      }
    }
    this.chunks++;
    return {
      ...{ scores: found.scores, train_loss, lr, skipped_steps: this.#skipped - skippedBefore },
      ...(this.#guard && { undone: Number(found.undone) }),
    };
  }

  /**
   * One optimiser step on the mean loss, unless that is not finite; returns the loss of each target before it, nats. Where the forward pass
   * is the one that scores, `take` gets the scores, and returns whether its adapter is no more: then there is no step.
   */
  async #step(
    sequence: Sequence,
    context: KVCache | null,
    lr: number,
    watch: Stopwatch,
    forwardIs: "score" | "train",
    take: (scores: Float32Array) => boolean,
  ): Promise<Float32Array> {
    const [task, optimizer] = [this.#task, this.optimizer];
    const memory = forwardIs === "score" ? this.#neighbours : null;
    using _scope = task.scope();
    const pass = {
      adapter: this.adapter,
      step: optimizer.steps,
      checkpointLayers: this.#checkpointLayers,
      ...watching(memory),
    };
    const { result: nll, tape } = record(task, () => losses(task, this.#model, sequence, context, pass));
    using _tape = tape;
    const each = await nll.data();
    const scored = forwardIs === "score" ? ((await memory?.mix(each, sequence.targets)) ?? each) : null;
    watch.book(forwardIs);
    if (scored && take(scored)) return each;
    if (!Number.isFinite(totalOf(each))) return each;
    const learnt = tokensToLearn(each, this.#recipe.learn_below);
    optimizer.zeroGradients();
    tape.backward(nll, share(task, learnt));
    if (learnt.includes(1)) optimizer.step(lr);
    this.#skipped = await optimizer.skippedSteps(); // a step that the device skipped leaves everything as it was
    return each;
  }

  /** The adapted model's memory; null where there is none. */
  get neighbours(): Neighbours | null {
    return this.#neighbours;
  }

  /** Everything that the next chunk depends on. */
  async snapshot(): Promise<LearnerSnapshot> {
    return {
      chunks: this.chunks,
      ...(await stateOf(arraysOf(this.adapter.parameters, this.optimizer), this.optimizer.steps)),
      context: (await this.#frozen?.snapshot()) ?? null,
      neighbours: (await this.#neighbours?.snapshot()) ?? null,
      kept: (await this.#guard?.snapshot()) ?? null,
    };
  }

  /** Becomes what `snapshot` was taken of. */
  restore({ chunks, context, neighbours, kept, ...state }: LearnerSnapshot): void {
    const { parameters } = this.adapter;
    const arrays = arraysOf(parameters, this.optimizer);
    for (const each of kept ? [state, kept] : [state]) assertFits(each, arrays);
    writeState(this.#task, state, arrays);
    parameters.changed();
    this.chunks = chunks;
    this.optimizer.steps = state.steps;
    this.#frozen?.restore(context, this.adapter.revision);
    this.#neighbours?.restore(neighbours);
    this.#guard?.restore(kept);
  }

  /** Throws the adapter away: the model is what it was. */
  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** nll [number of targets] of a sequence, nats; the caller's scope owns it. */
function losses(
  task: Task,
  model: Llama,
  { inputs, from, targets }: Sequence,
  context: KVCache | null,
  pass: Pass,
): Tensor {
  context?.rewind(from);
  return task.tidy(() => {
    const ids = model.ids(task, context ? inputs.subarray(from) : inputs);
    return model.nll(model.forward(ids, context ? { ...pass, cache: context } : { ...pass, from }), targets);
  });
}

/** 1 for each token that got a probability smaller than `below`; all where that is 1. */
function tokensToLearn(losses: Float32Array, below: number): Float32Array {
  return losses.map((loss) => Number(below === 1 || loss > -Math.log(below)));
}

/** The gradient of the mean loss of the chosen tokens by each token's loss [count]. */
function share(task: Task, chosen: Float32Array): Tensor {
  const [{ length: count }, some] = [chosen, totalOf(chosen)];
  if (some < count)
    return task.tensor(
      chosen.map((one) => one / Math.max(1, some)),
      [count],
    );
  return task.run(fill, {}, { value: 1 / count }, { into: { y: task.empty([count]) } }).y;
}

/** The sum, in float64 and in order. */
export function totalOf(values: Float32Array): number {
  return values.reduce((sum, x) => sum + x, 0);
}
