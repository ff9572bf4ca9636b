/**
 * One chunk of Temp-LoRA: score it with the adapter as it is, then take the optimiser steps on it. Scoring always comes
 * before training on the same tokens. Without dropout the scoring pass is the first step's forward pass, so it is run once.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Optimizer } from "../engine/optim/optimizer.ts";
import type { Task } from "../engine/task.ts";
import type { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Average } from "./average.ts";
import { type Learnable, learnable } from "./learnable.ts";
import { type Sequence, partsOf, withContext } from "./chunks.ts";
import { type Recipe, checkRecipe, learningRate } from "./config.ts";
import { type ContextOptions, type ContextSnapshot, FrozenContext } from "./context.ts";
import { Guard } from "./guard.ts";
import { type NeighbourOptions, Neighbours, type NeighboursSnapshot } from "./neighbours.ts";
import { nonFinite } from "./nonfinite.ts";
import { Objective } from "./objective.ts";
import { makeOptimizer } from "./optimizers.ts";
import { NO_LOSS, scores, scoresFirst, totalOf, watching } from "./scoring.ts";
import { begin } from "./starts.ts";
import type { Stopwatch } from "./stopwatch.ts";
import type { StoredAdapter } from "./stored_adapter.ts";
import { type TrainingState, arraysOf, assertFits, stateOf, writeState } from "./training_state.ts";

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
  /** The same of what the average scores behind, and of what the frozen model reads for an anchor; null without one. */
  readonly scoring: ContextSnapshot | null;
  readonly anchor: ContextSnapshot | null;
  /** The average, in the layout of the values; null without one. */
  readonly average: Float32Array | null;
  /** Null where there is no memory. */
  readonly neighbours: NeighboursSnapshot | null;
}

/** What a step learns. */
interface Step {
  /** Of what is trained. */
  readonly part: Sequence;
  readonly trained: Sequence;
  readonly replayed: Sequence | null;
  /** Where the context is constant. */
  readonly context: KVCache | null;
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
  /** What scores, writes and is kept: what learns, or its average. */
  readonly adapter: Learnable;
  readonly optimizer: Optimizer;
  /** Chunks trained on. */
  chunks = 0;
  readonly #task: Task;
  readonly #model: Llama;
  readonly #recipe: Recipe;
  readonly #seed: number;
  /** What learns. */
  readonly #newest: Learnable;
  readonly #average: Average | null;
  readonly #objective: Objective;
  readonly #frozen: FrozenContext | null;
  /** What the average scores behind. */
  readonly #scoring: FrozenContext | null;
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
    this.#seed = seed;
    this.#checkpointLayers = options.checkpointLayers ?? 0;
    const begins = (): Learnable => learnable(model, recipe, seed, options.adapter);
    this.#newest = stack.use(begins());
    this.#average = recipe.ema > 0 ? stack.use(new Average(task, begins(), recipe.ema)) : null;
    this.adapter = this.#average?.adapter ?? this.#newest;
    const { parameters } = this.#newest;
    this.optimizer = stack.use(makeOptimizer(task, parameters, recipe));
    this.#objective = stack.use(new Objective(task, model, recipe, options.context));
    const context = (wanted: boolean): FrozenContext | null =>
      wanted && !recipe.context_grad ? stack.use(new FrozenContext(task, model, options.context)) : null;
    this.#frozen = context(true);
    this.#scoring = context(recipe.ema > 0);
    this.#neighbours = options.neighbours
      ? stack.use(new Neighbours(task, model.config.hidden_size, options.neighbours))
      : null;
    this.#guard =
      recipe.guard > 0 ? stack.use(new Guard(task, parameters, this.optimizer, recipe.guard)) : null;
    this.#owned = stack.move();
  }

  /**
   * Scores `scored` (null: not wanted), then trains on `given`, which may have another context. Each pass is a unit of work,
   * whose time and arithmetic are booked on `watch`. Throws when the loss is not finite.
   * `replayed`: learnt in each step as well. `base`: what the frozen model gave to `scored`, nats in all, for a guard. Where that undoes an update, the chunk is learnt from there,
   * in a forward pass of its own; its scores, and its states in a memory, stay those of the adapter that is no more.
   */
  async learn(
    scored: Sequence | null,
    given: Sequence,
    watch: Stopwatch,
    base: number | null = null,
    replayed: Sequence | null = null,
  ): Promise<TrainedChunk> {
    const lr = learningRate(this.#recipe, this.chunks);
    const [task, model, adapter] = [this.#task, this.#model, this.#newest];
    const epochs = given.targets.length > 0 ? this.#recipe.epochs : 0;
    const trained = epochs > 0 && this.#recipe.context_loss ? withContext(given) : given;
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
        if (sameContext && !this.#average) readContext();
        const kept = sameContext && epochs > 0 ? this.#scoring?.prepare(scored, this.adapter) : null;
        const each = await scores(task, model, scored, this.adapter, kept ?? context, this.#neighbours);
        watch.book("score");
        take(each);
      });
    }
    if (epochs > 0) await this.#begin(given, watch);
    const train_loss: number[] = [];
    const skippedBefore = this.#skipped;
    for (let epoch = 0; epoch < epochs; epoch++) {
      for (const part of parts) {
        const step = (forwardIs: "score" | "train"): Promise<Float32Array> =>
          task.unit(async () => {
            readContext();
            const { steps } = this.optimizer;
            const lesson = { part, trained, replayed, context };
            const each = await this.#step(lesson, lr, watch, forwardIs, take);
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
    this.#objective.anchor?.forget();
    this.chunks++;
    return {
      ...{ scores: found.scores, train_loss, lr, skipped_steps: this.#skipped - skippedBefore },
      ...(this.#guard && { undone: Number(found.undone) }),
    };
  }

  /** Before a text's first step: the first values that a recipe asks for, where they are not those that a LoRA is made with. */
  async #begin(first: Sequence, watch: Stopwatch): Promise<void> {
    const { adapt, init } = this.#recipe;
    if (this.chunks > 0 || adapt !== "lora" || init === "peft" || this.#newest.loaded) return;
    await this.#task.unit(async () => {
      await begin(this.#task, this.#model, this.#newest, init, this.#seed, first);
      this.#average?.begin(this.#newest.parameters);
      watch.book("train");
    });
  }

  /**
   * One optimiser step on the mean loss of a part of what is trained, and of what is replayed, unless the former is not finite or too
   * small; returns the loss of each of the part's targets before it, nats. Where the forward pass is the one that scores, `take` gets the scores, and returns whether its adapter is no more: then there is no step.
   */
  async #step(
    { part, trained, replayed, context }: Step,
    lr: number,
    watch: Stopwatch,
    forwardIs: "score" | "train",
    take: (scores: Float32Array) => boolean,
  ): Promise<Float32Array> {
    const [task, optimizer, objective] = [this.#task, this.optimizer, this.#objective];
    const memory = forwardIs === "score" ? this.#neighbours : null;
    using _scope = task.scope();
    const pass = {
      adapter: this.#newest,
      step: optimizer.steps,
      checkpointLayers: this.#checkpointLayers,
    };
    const recorded = objective.record(part, context, { ...pass, ...watching(memory) });
    using _tape = recorded.tape;
    const each = await recorded.nll.data();
    const scored = forwardIs === "score" ? ((await memory?.mix(each, part.targets)) ?? each) : null;
    watch.book(forwardIs);
    if (scored && take(scored)) return each;
    if (!objective.asksForStep(each)) return each;
    const again = replayed?.targets.length ?? 0;
    const tokens = each.length + again;
    optimizer.zeroGradients();
    let some = objective.backward(recorded, each, trained, each.length / tokens);
    if (replayed) some = (await objective.add(replayed, pass, again / tokens)) || some;
    if (some) {
      optimizer.step(lr);
      this.#average?.follow(this.#newest.parameters);
    }
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
      ...(await stateOf(arraysOf(this.#newest.parameters, this.optimizer), this.optimizer.steps)),
      context: (await this.#frozen?.snapshot()) ?? null,
      scoring: (await this.#scoring?.snapshot()) ?? null,
      anchor: (await this.#objective.anchor?.snapshot()) ?? null,
      average: (await this.#average?.adapter.parameters.values.data()) ?? null,
      neighbours: (await this.#neighbours?.snapshot()) ?? null,
      kept: (await this.#guard?.snapshot()) ?? null,
    };
  }

  /** Becomes what `snapshot` was taken of. */
  restore({ chunks, context, scoring, anchor, average, neighbours, kept, ...state }: LearnerSnapshot): void {
    const { parameters } = this.#newest;
    const arrays = arraysOf(parameters, this.optimizer);
    for (const each of kept ? [state, kept] : [state]) assertFits(each, arrays);
    writeState(this.#task, state, arrays);
    parameters.changed();
    this.chunks = chunks;
    this.optimizer.steps = state.steps;
    if ((average === null) !== (this.#average === null))
      throw new BadInputError("the state's values and average do not fit together: it is damaged");
    if (average) this.#average?.adapter.parameters.replace(average);
    this.#frozen?.restore(context, parameters.revision);
    this.#scoring?.restore(scoring, this.adapter.revision);
    this.#objective.anchor?.restore(anchor);
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
