/**
 * One chunk of Temp-LoRA: score it with the adapter as it is, then take the optimiser steps on it. Scoring always comes
 * before training on the same tokens. Without dropout the scoring pass is the first step's forward pass, so it is run once.
 */
import { BadInputError } from "../engine/errors.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import type { Tape } from "../engine/tape.ts";
import type { Tensor } from "../engine/tensor.ts";
import { fill } from "../kernels/fill/fill.ts";
import type { Llama } from "../model/llama.ts";
import { Adapter } from "./adapter.ts";
import type { Sequence } from "./chunks.ts";
import { type Recipe, learningRate } from "./config.ts";
import type { Snapshot } from "./state.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** Sum of the negative log-likelihoods of a sequence's targets, nats. The adapter is used as it stands; null = base. */
export async function score(model: Llama, sequence: Sequence, adapter: Adapter | null): Promise<number> {
  if (sequence.targets.length === 0) return 0;
  using _scope = model.engine.scope();
  return sumOf(await model.engine.read(losses(model, sequence, adapter)));
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

  constructor(model: Llama, recipe: Recipe, seed: number) {
    this.#model = model;
    this.#recipe = recipe;
    this.adapter = new Adapter(model, recipe, seed);
    this.optimizer = new AdamW(this.adapter.parameters, recipe);
  }

  /**
   * Scores `scored` (null: not wanted), then trains on `trained`, which may have another context.
   * `watch` is told which of the two the time and the arithmetic belong to.
   */
  async learn(scored: Sequence | null, trained: Sequence, watch: Stopwatch): Promise<TrainedChunk> {
    const lr = learningRate(this.#recipe, this.chunks);
    const shared = scored !== null && this.#recipe.dropout === 0 && scored.context === trained.context;
    let nll: number | null = null;
    if (scored && !shared) nll = await watch.spend("score", () => score(this.#model, scored, this.adapter));
    const train_loss: number[] = [];
    const epochs = trained.targets.length > 0 ? this.#recipe.epochs : 0;
    if (shared && epochs === 0)
      nll = await watch.spend("score", () => score(this.#model, trained, this.adapter));
    for (let epoch = 0; epoch < epochs; epoch++) {
      const forwardIs = shared && epoch === 0 ? "score" : "train";
      const sum = await this.#step(trained, lr, watch, forwardIs);
      if (forwardIs === "score") nll = sum;
      train_loss.push(sum / trained.targets.length);
    }
    this.chunks++;
    return { nll, train_loss, lr };
  }

  /** One optimiser step on the mean loss; answers the summed loss before it. */
  async #step(
    sequence: Sequence,
    lr: number,
    watch: Stopwatch,
    forwardIs: "score" | "train",
  ): Promise<number> {
    const { engine } = this.#model;
    const { adapter, optimizer } = this;
    using _scope = engine.scope();
    adapter.trainingStep = optimizer.steps;
    let forward: { result: Tensor; tape: Tape };
    try {
      forward = engine.record(() => losses(this.#model, sequence, adapter));
    } finally {
      adapter.trainingStep = null;
    }
    const { result: nll, tape } = forward;
    try {
      const sum = await watch.spend(forwardIs, async () => sumOf(await engine.read(nll)));
      if (!Number.isFinite(sum)) {
        throw new Error(
          `the loss is not finite after ${optimizer.steps} optimiser steps: lower --lr or set --clip 1`,
        );
      }
      await watch.spend("train", async () => {
        const count = sequence.targets.length;
        const cotangent = engine.run(
          fill,
          {},
          { value: 1 / count },
          { into: { y: engine.empty([count]) } },
        ).y;
        adapter.parameters.zeroGradients();
        tape.backward(nll, cotangent);
        optimizer.step(lr);
        adapter.version++;
        await engine.device.flush();
        await new Promise((resume) => setTimeout(resume, 0)); // a step blocks for seconds: let timers and signals have their turn
      });
      return sum;
    } finally {
      tape.dispose();
    }
  }

  /** Everything that the next chunk depends on. */
  async snapshot(): Promise<Snapshot> {
    const { engine } = this.#model;
    const { adapter, optimizer, chunks } = this;
    const [values, m, v] = [
      await engine.read(adapter.parameters.values),
      await engine.read(optimizer.m),
      await engine.read(optimizer.v),
    ];
    return { chunks, steps: optimizer.steps, values, m, v };
  }

  /** Becomes what `snapshot` was taken of. */
  restore({ chunks, steps, values, m, v }: Snapshot): void {
    const { device } = this.#model.engine;
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
    this.optimizer.dispose();
    this.adapter.dispose();
  }
}

/** nll [targets] of a sequence; the caller's scope owns it. */
function losses(model: Llama, { inputs, from, targets }: Sequence, adapter: Adapter | null): Tensor {
  return model.engine.tidy(() => model.nll(model.forward(inputs, { adapter, from }), targets));
}

/** In float64, in order. */
function sumOf(values: Float32Array): number {
  return values.reduce((sum, x) => sum + x, 0);
}
