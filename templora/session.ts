/**
 * A session: one text in progress on a shared model — its ids, adapter, cache, sampler and learner — moved on in steps. Reading
 * (perplexity.ts), writing (decode.ts) and whatever serves several texts at once are loops over these steps. Sessions on one
 * device may run at the same time: their units of work take turns, and each has the bits that it would have alone.
 * Chunks tile the text from its beginning.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import type { Llama } from "../model/llama.ts";
import type { SamplingOptions } from "../model/sample.ts";
import { type ChunkSpan, sequence } from "./chunks.ts";
import { type Recipe, recipes } from "./config.ts";
import { GrowingText } from "./growing_text.ts";
import { expectWithin } from "./limits.ts";
import type { ChunkRecord } from "./records.ts";
import { type Spent, Stopwatch } from "./stopwatch.ts";
import { type LearnerSnapshot, TempLora, score } from "./trainer.ts";
import { Writer, type WriterSnapshot } from "./writer.ts";

export interface SessionOptions {
  /** Δ, tokens. */
  readonly chunk: number;
  /** Context tokens before a chunk, when scoring and writing. */
  readonly window: number;
  /** Context tokens when training. */
  readonly trainWindow: number;
  readonly recipe: Recipe;
  readonly seed: number;
  /** Train an adapter. */
  readonly templora: boolean;
  /** Score every chunk that is learnt with the frozen model too. */
  readonly baseline: boolean;
  /** Updates that cached keys and values outlive; 0 = computed again after every update. */
  readonly reuseCache?: number;
  /** First layers whose activations are computed again in the backward: less memory, more time, the same numbers. */
  readonly checkpointLayers?: number;
  /** Default: greedy. */
  readonly sampling?: SamplingOptions;
  /** Writing ends before one of these. */
  readonly stopIds?: readonly number[];
  /** Never written. */
  readonly banIds?: readonly number[];
}

/** Everything that what comes next depends on, on the host. */
export interface SessionSnapshot {
  readonly ids: Int32Array;
  /** 1 for each of `ids` that the session has written itself. */
  readonly written: Int32Array;
  /** Tokens trained on. */
  readonly learnt: number;
  /** On the chunk in progress. */
  readonly spent: Spent | null;
  readonly learner: LearnerSnapshot | null;
  /** Null before the first token is chosen. */
  readonly writer: WriterSnapshot | null;
}

export class Session implements Disposable {
  readonly model: Llama;
  readonly options: SessionOptions;
  readonly task: Task;
  readonly learner: TempLora | null;
  readonly #text = new GrowingText();
  readonly #owned: DisposableStack;
  /** Tokens trained on, or passed over by `learn` where there is no adapter. */
  #learnt = 0;
  /** Made for the first token. */
  #writer: Writer | null = null;
  /** Of the chunk in progress. */
  #watch: Stopwatch | null = null;
  /** The step that is running. */
  #busy: string | null = null;

  /** The caller disposes of it. What is not given is the paper's, as far as the model's positions allow. */
  constructor(model: Llama, given: Partial<SessionOptions> = {}) {
    const options = complete(given, model.config.max_position_embeddings);
    const {
      chunk,
      window,
      trainWindow,
      recipe,
      seed,
      templora,
      reuseCache = 0,
      checkpointLayers = 0,
    } = options;
    const { max_position_embeddings: positions, num_hidden_layers: layers } = model.config;
    const whole = { integer: true, min: 0 };
    expectWithin({ chunk }, { integer: true, min: 1 });
    expectWithin({ window, trainWindow, reuseCache }, whole);
    expectWithin({ seed }, { ...whole, max: 2 ** 32 - 1 });
    expectWithin({ checkpointLayers }, { ...whole, max: layers });
    const widest = Math.max(window, trainWindow);
    if (widest + chunk > positions)
      throw new BadInputError(
        `window ${widest} + chunk ${chunk} exceed the model's ${positions} positions: lower window or chunk`,
      );
    using stack = new DisposableStack();
    this.model = model;
    this.options = options;
    this.task = stack.use(new Task(model.device));
    const context = { capacity: trainWindow + chunk, reuse: reuseCache };
    this.learner = templora
      ? stack.use(new TempLora(this.task, model, recipe, seed, { context, checkpointLayers }))
      : null;
    this.#owned = stack.move();
  }

  /** The text so far. */
  get ids(): Int32Array {
    return this.#text.ids().slice();
  }

  get length(): number {
    return this.#text.length;
  }

  /** Tokens that the learner has seen. */
  get learnt(): number {
    return this.#learnt;
  }

  /** A whole chunk waits to be learnt: `next` would leave it behind. */
  get due(): boolean {
    return this.learner !== null && this.length - this.#learnt >= this.options.chunk;
  }

  /** Adds given tokens to the text; they are computed with when something needs them. */
  prefill(ids: Int32Array): void {
    this.#assertIdle("prefill");
    this.model.assertIds(ids);
    this.#text.append(ids, 0);
  }

  /** Chooses the next token and adds it to the text; null = one of `stopIds`, where the text ends. */
  next(): Promise<number | null> {
    return this.#step("next", () =>
      this.task.unit(async () => {
        if (this.length === 0)
          throw new BadInputError("the prompt is empty: give at least one token to go on from");
        this.#watch ??= new Stopwatch(this.task.meter);
        const id = await this.#writing().next(this.#text, this.#learnt);
        if (this.options.stopIds?.includes(id)) return null;
        this.#text.append([id], 1);
        return id;
      }),
    );
  }

  #writing(): Writer {
    if (!this.#writer) {
      const adapter = this.learner?.adapter ?? null;
      this.#writer = this.#owned.use(new Writer(this.task, this.model, adapter, this.options));
    }
    return this.#writer;
  }

  /**
   * Learns the next chunk (at the text's end what there is of it): scores it, then trains on it. What the session wrote itself is
   * scored only where the score is the training's first pass.
   */
  learn(): Promise<ChunkRecord> {
    return this.#step("learn", async () => {
      const { chunk, window, trainWindow, recipe, baseline } = this.options;
      const { task, model, learner } = this;
      const start = this.#learnt;
      if (start >= this.length) throw new Error("there is nothing to learn: prefill() or next() first");
      const span: ChunkSpan = {
        index: Math.ceil(start / chunk),
        start,
        end: Math.min(this.length, start + chunk),
      };
      const text = this.#text.ids();
      const scored = sequence(text, span, window);
      const trained = sequence(text, span, trainWindow);
      const watch = this.#watch ?? new Stopwatch(task.meter);
      watch.book("score"); // what writing the chunk took
      let base_nll: number | null = null;
      if (baseline) {
        base_nll = await task.unit(() => score(task, model, scored, null));
        watch.book("base");
      }
      const given = !this.#text.written(start, span.end).includes(1);
      const shared = recipe.dropout === 0 && scored.context === trained.context;
      const learnt = await learner?.learn(given || shared ? scored : null, trained, watch);
      this.#learnt = span.end;
      this.#writer?.updated();
      this.#watch = null;
      return {
        index: span.index,
        start,
        tokens: scored.targets.length,
        context: scored.context,
        base_nll,
        lora_nll: learnt?.nll ?? null,
        train_loss: learnt?.train_loss ?? [],
        lr: learnt?.lr ?? 0,
        skipped_steps: learnt?.skipped_steps ?? 0,
        flops: watch.flops,
        seconds: watch.seconds,
      };
    });
  }

  /** A copy of the session's state between two steps. */
  snapshot(): Promise<SessionSnapshot> {
    return this.#step("snapshot", () =>
      this.task.unit(async () => ({
        ids: this.ids,
        written: this.#text.written().slice(),
        learnt: this.#learnt,
        spent: this.#spent(),
        learner: (await this.learner?.snapshot()) ?? null,
        writer: (await this.#writer?.snapshot()) ?? null,
      })),
    );
  }

  /** Becomes what `snapshot` was taken of, in a session with the same options on the same model. */
  restore({ ids, written, learnt, spent, learner, writer }: SessionSnapshot): Promise<void> {
    return this.#step("restore", () =>
      this.task.unit(async () => {
        this.model.assertIds(ids);
        if ((learner === null) !== (this.learner === null))
          throw new BadInputError("the state is of a session with other options (templora)");
        if (learner) this.learner?.restore(learner);
        this.#text.restore(ids, written);
        this.#learnt = learnt;
        this.#watch = spent && new Stopwatch(this.task.meter, spent);
        (writer ? this.#writing() : this.#writer)?.restore(writer);
      }),
    );
  }

  toString(): string {
    const adapter = this.learner ? `${this.#learnt} learnt` : "base model";
    return `Session: ${this.length} tokens, ${adapter}, chunk ${this.options.chunk}, window ${this.options.window}`;
  }

  /** What console.log prints under Node. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /** Frees everything; the model is what it was. */
  dispose(): void {
    this.#assertIdle("dispose");
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #spent(): Spent | null {
    if (!this.#watch) return null;
    this.#watch.book("score"); // only writing goes on between two steps
    return { flops: { ...this.#watch.flops }, seconds: { ...this.#watch.seconds } };
  }

  #assertIdle(name: string): void {
    if (this.#busy) throw new Error(`${name}() was called while ${this.#busy}() runs: await it first`);
  }

  /** One step at a time. */
  async #step<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#assertIdle(name);
    this.#busy = name;
    try {
      return await work();
    } finally {
      this.#busy = null;
    }
  }
}

/** Context tokens of the paper. */
const WINDOW = 3072;

function complete(given: Partial<SessionOptions>, positions: number): SessionOptions {
  const { chunk = Math.min(1024, positions) } = given;
  const { window = Math.max(0, Math.min(WINDOW, positions - chunk)) } = given;
  const defaults = { recipe: recipes.paper, seed: 0, templora: true, baseline: true };
  return { ...defaults, trainWindow: window, ...given, chunk, window };
}
