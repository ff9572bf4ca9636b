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
import { type ChunkSpan, sequence } from "./chunks.ts";
import { GrowingText } from "./growing_text.ts";
import type { ChunkRecord, Spent } from "./records.ts";
import { type GivenOptions, type SessionOptions, completeOptions, differing } from "./session_options.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { StoredAdapter } from "./stored_adapter.ts";
import { type LearnerSnapshot, TempLora, score } from "./trainer.ts";
import { Writer, type WriterSnapshot } from "./writer.ts";

/** All that the next steps of a session depend on, on the host. */
export interface SessionSnapshot {
  /** The options of the session. */
  readonly options: SessionOptions;
  readonly ids: Int32Array;
  /** 1 for each of `ids` that the session has written itself. */
  readonly written: Int32Array;
  /** Tokens trained on. */
  readonly learnt: number;
  /** What the chunk in progress has cost; null while there is none. */
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
  /** Made when the first token is chosen. */
  #writer: Writer | null = null;
  /** Measures the chunk in progress; null while there is none. */
  #watch: Stopwatch | null = null;
  /** The step that is running. */
  #busy: string | null = null;
  #disposed = false;
  /** A step that changes the learner was begun and is not finished. */
  #halfDone = false;

  /** The caller disposes of it. */
  constructor(model: Llama, given: GivenOptions = {}) {
    const options = completeOptions(given, model.config);
    const { chunk, trainWindow, recipe, seed, templora, adapter, reuseCache, checkpointLayers } = options;
    using stack = new DisposableStack();
    this.model = model;
    this.options = options;
    this.task = stack.use(new Task(model.device));
    const context = { capacity: trainWindow + chunk, reuse: reuseCache };
    this.learner = templora
      ? stack.use(new TempLora(this.task, model, recipe, seed, { context, checkpointLayers, adapter }))
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

  /** Whether a whole chunk waits to be learnt; `next` needs it learnt first: `while (session.due) await session.learn()`. */
  get due(): boolean {
    return this.learner !== null && this.length - this.#learnt >= this.options.chunk;
  }

  /** Adds given tokens to the text; the model reads them in the next step that needs them. */
  prefill(ids: Int32Array): void {
    this.#assertIdle("prefill");
    this.model.assertIds(ids);
    this.#text.append(ids, 0);
  }

  /** Chooses the next token and adds it to the text; null = one of `stopIds`, where the text ends. */
  next(): Promise<number | null> {
    return this.#step("next", () =>
      this.task.unit(async () => {
        if (this.due)
          throw new Error(
            `a chunk of ${this.options.chunk} tokens waits: while (session.due) await session.learn() comes before next()`,
          );
        if (this.length === 0)
          throw new BadInputError("the prompt is empty: give at least one token to go on from");
        this.#watch ??= new Stopwatch(this.task.meter);
        const writer = this.#writing();
        const id = await writer.next(this.#text, this.#learnt);
        if (this.options.stopIds.includes(id)) {
          writer.takeBack();
          return null;
        }
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
   * Learns the next chunk, or what there is of it at the text's end: scores it, then trains on it. A chunk with tokens that the
   * session wrote is scored only where the score is the first pass of the training anyway.
   */
  learn(): Promise<ChunkRecord> {
    return this.#step("learn", async () => {
      const { chunk, window, trainWindow, recipe, baseline } = this.options;
      const { task, model, learner } = this;
      const start = this.#learnt;
      if (start >= this.length) throw new Error("there is nothing to learn: prefill() or next() first");
      const span: ChunkSpan = {
        index: learner?.chunks ?? Math.ceil(start / chunk),
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
      this.#halfDone = true;
      const learnt = await learner?.learn(given || shared ? scored : null, trained, watch);
      this.#halfDone = false;
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
        ...watch.spent,
      };
    });
  }

  /** A copy of the adapter as it is now, to be saved (`saveAdapter`) or for another session to begin with. */
  storedAdapter(): Promise<StoredAdapter> {
    return this.#step("storedAdapter", () =>
      this.task.unit(() => {
        if (!this.learner) throw new BadInputError("a session of the base model alone has no adapter");
        return this.learner.adapter.store();
      }),
    );
  }

  /** A copy of the session's state between two steps. */
  snapshot(): Promise<SessionSnapshot> {
    return this.#step("snapshot", () =>
      this.task.unit(async () => ({
        options: this.options,
        ids: this.ids,
        written: this.#text.written().slice(),
        learnt: this.#learnt,
        spent: this.#spent(),
        learner: (await this.learner?.snapshot()) ?? null,
        writer: (await this.#writer?.snapshot()) ?? null,
      })),
    );
  }

  /** Puts the session into the state that `snapshot` was taken of; its options and model must be the same. */
  restore({ options, ids, written, learnt, spent, learner, writer }: SessionSnapshot): Promise<void> {
    return this.#step("restore", () =>
      this.task.unit(async () => {
        this.model.assertIds(ids);
        const other = differing(options, this.options);
        if (other) throw new BadInputError(`the snapshot is of a session with another ${other}`);
        if (written.length !== ids.length || !(learnt >= 0 && learnt <= ids.length))
          throw new BadInputError("the snapshot does not fit together: it is damaged");
        this.#halfDone = true;
        if (learner) this.learner?.restore(learner);
        this.#text.restore(ids, written);
        this.#learnt = learnt;
        this.#watch = spent && new Stopwatch(this.task.meter, spent);
        (writer ? this.#writing() : this.#writer)?.restore(writer);
        this.#halfDone = false;
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
    this.#disposed = true;
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #spent(): Spent | null {
    if (!this.#watch) return null;
    this.#watch.book("score"); // only writing goes on between two steps
    return this.#watch.spent;
  }

  #assertIdle(name: string): void {
    if (this.#halfDone && !this.#busy && name !== "restore" && name !== "dispose")
      throw new Error(
        `${name}(): an earlier learn() or restore() failed half-way: restore() a snapshot first`,
      );
    if (this.#disposed && name !== "dispose") throw new Error(`${name}(): the session was disposed of`);
    if (this.#busy) throw new Error(`${name}() was called while ${this.#busy}() runs: await it first`);
  }

  /** Runs a step; two at a time are an error. */
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
