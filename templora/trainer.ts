/**
 * One chunk of Temp-LoRA: score it with the adapter as it is, then take the optimiser steps on it. Scoring always comes
 * before training on the same tokens. Without dropout the scoring pass is the first step's forward pass, so it is run once.
 */
import { BadInputError } from "../engine/errors.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import type { Tape } from "../engine/tape.ts";
import type { Tensor } from "../engine/tensor.ts";
import { fill } from "../kernels/fill/fill.ts";
import type { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Adapter } from "./adapter.ts";
import type { Sequence } from "./chunks.ts";
import { type Recipe, checkRecipe, learningRate } from "./config.ts";
import { type ContextOptions, FrozenContext } from "./context.ts";
import type { Snapshot } from "./state.ts";
import type { Stopwatch } from "./stopwatch.ts";

/**
 * Sum of the negative log-likelihoods of a sequence's targets, nats. The adapter is used as it stands; null = base.
 * With `context`, the inputs before the chunk are read from there.
 */
export async function score(
  model: Llama,
  sequence: Sequence,
  adapter: Adapter | null,
  context: KVCache | null = null,
): Promise<number> {
  if (sequence.targets.length === 0) return 0;
  using _scope = model.task.scope();
  return sumOf(await model.task.read(losses(model, sequence, adapter, context)));
}

export interface TrainedChunk {
  /** Under the adapter as it was before training, nats; null when it was not asked for. */
  readonly nll: number | null;
  readonly train_loss: readonly number[];
  readonly lr: number;
}

/** The adapter and its optimiser over one text, from birth to disposal. */
export class TempLora {
  readonly adapter: Adapter;
  readonly optimizer: AdamW;
  /** Chunks trained on. */
  chunks = 0;
  readonly #model: Llama;
  readonly #recipe: Recipe;
  readonly #frozen: FrozenContext | null;

  /** `context` is for recipes without `context_grad`, whose context is cached. */
  constructor(model: Llama, recipe: Recipe, seed: number, context?: ContextOptions) {
    checkRecipe(recipe);
    this.#model = model;
    this.#recipe = recipe;
    this.adapter = new Adapter(model, recipe, seed);
    this.optimizer = new AdamW(this.adapter.parameters, recipe);
    if (!recipe.context_grad && !context)
      throw new TypeError("a constant context needs a cache: give its size");
    this.#frozen = !recipe.context_grad && context ? new FrozenContext(model, context) : null;
  }

  /** What comes depends on `snapshot` alone, and on no keys and values of earlier chunks. */
  get atBoundary(): boolean {
    return this.#frozen?.expired ?? true;
  }

  /**
   * Scores `scored` (null: not wanted), then trains on `trained`, which may have another context.
   * `watch` is told which of the two the time and the arithmetic belong to.
   */
  async learn(scored: Sequence | null, trained: Sequence, watch: Stopwatch): Promise<TrainedChunk> {
    const lr = learningRate(this.#recipe, this.chunks);
    const { adapter } = this;
    const epochs = trained.targets.length > 0 ? this.#recipe.epochs : 0;
    const sameContext = scored?.context === trained.context;
    const shared = sameContext && this.#recipe.dropout === 0 && epochs > 0;
    const read = (): KVCache | null => (epochs > 0 ? this.#frozen?.prepare(trained, adapter) : null) ?? null;
    let context = sameContext ? read() : null;
    let nll: number | null = null;
    if (scored && !shared) {
      nll = await watch.spend("score", () => score(this.#model, scored, adapter, context));
    }
    context ??= read();
    const train_loss: number[] = [];
    for (let epoch = 0; epoch < epochs; epoch++) {
      const forwardIs = shared && epoch === 0 ? "score" : "train";
      const sum = await this.#step(trained, context, lr, watch, forwardIs);
      if (forwardIs === "score") nll = sum;
      train_loss.push(sum / trained.targets.length);
    }
    this.chunks++;
    return { nll, train_loss, lr };
  }

  /** One optimiser step on the mean loss; answers the summed loss before it. */
  async #step(
    sequence: Sequence,
    context: KVCache | null,
    lr: number,
    watch: Stopwatch,
    forwardIs: "score" | "train",
  ): Promise<number> {
    const { task } = this.#model;
    const { adapter, optimizer } = this;
    using _scope = task.scope();
    adapter.trainingStep = optimizer.steps; // to the end: a checkpointed layer draws its masks again in the backward
    let tape: Tape | null = null;
    try {
      const forward = task.record(() => losses(this.#model, sequence, adapter, context));
      const nll = forward.result;
      tape = forward.tape;
      const sum = await watch.spend(forwardIs, async () => sumOf(await task.read(nll)));
      if (!Number.isFinite(sum)) {
        throw new Error(
          `the loss is not finite after ${optimizer.steps} optimiser steps: lower --lr or set --clip 1`,
        );
      }
      await watch.spend("train", async () => {
        const count = sequence.targets.length;
        const cotangent = task.run(fill, {}, { value: 1 / count }, { into: { y: task.empty([count]) } }).y;
        adapter.parameters.zeroGradients();
        forward.tape.backward(nll, cotangent);
        optimizer.step(lr);
        adapter.version++;
        await task.device.flush();
        await new Promise((resume) => setTimeout(resume, 0)); // a step blocks for seconds: let timers and signals have their turn
      });
      return sum;
    } finally {
      adapter.trainingStep = null;
      tape?.dispose();
    }
  }

  /** Everything that the next chunk depends on. */
  async snapshot(): Promise<Snapshot> {
    const { task } = this.#model;
    const { adapter, optimizer, chunks } = this;
    const [values, m, v] = [
      await task.read(adapter.parameters.values),
      await task.read(optimizer.m),
      await task.read(optimizer.v),
    ];
    return { chunks, steps: optimizer.steps, values, m, v };
  }

  /** Becomes what `snapshot` was taken of. */
  restore({ chunks, steps, values, m, v }: Snapshot): void {
    const { device } = this.#model.task;
    if (values.length !== this.adapter.parameters.values.length) {
      throw new BadInputError(
        `the state holds ${values.length} values, this adapter ${this.adapter.parameters.values.length}`,
      );
    }
    device.write(this.adapter.parameters.values.view, values);
    device.write(this.optimizer.m.view, m);
    device.write(this.optimizer.v.view, v);
    this.chunks = chunks;
    this.optimizer.steps = steps;
    this.adapter.version = steps;
  }

  /** Throws the adapter away: the model is what it was. */
  dispose(): void {
    this.#frozen?.dispose();
    this.optimizer.dispose();
    this.adapter.dispose();
  }
}

/** nll [targets] of a sequence; the caller's scope owns it. */
function losses(
  model: Llama,
  { inputs, from, targets }: Sequence,
  adapter: Adapter | null,
  context: KVCache | null,
): Tensor {
  context?.rewind(from);
  const forward = (): Tensor =>
    context
      ? model.forward(inputs.subarray(from), { adapter, cache: context })
      : model.forward(inputs, { adapter, from });
  return model.task.tidy(() => model.nll(forward(), targets));
}

/** In float64, in order. */
function sumOf(values: Float32Array): number {
  return values.reduce((sum, x) => sum + x, 0);
}
