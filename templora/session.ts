/**
 * A session: one text in progress on a shared model — its ids, adapter, cache, sampler and learner — moved on in steps. Reading
 * (perplexity.ts), writing (decode.ts) and whatever serves several texts at once are loops over these steps. Sessions on one
 * device may run at the same time: their units of work take turns, and each has the bits that it would have alone.
 * Chunks tile the text from its beginning. A chunk is handed to the learner, and what it has made of the adapter is taken: at once
 * (`learn`), or later (`hand`, `take`), so that the learner may work beside the writer; the session then writes with an adapter of its own.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import type { Llama } from "../model/llama.ts";
import { type Learnable, learnable } from "./learnable.ts";
import { type ChunkSpan, bosOf, sequence } from "./chunks.ts";
import { type ContextSnapshot, FrozenContext } from "./context.ts";
import { GrowingText } from "./growing_text.ts";
import { assertGuards } from "./guard.ts";
import { type Learner, LocalLearner, type Place, type Update, neighbourOptions } from "./learner.ts";
import { Neighbours, type NeighboursSnapshot } from "./neighbours.ts";
import { type ChunkRecord, type Spent, sumOf } from "./records.ts";
import { type Entropies, RepetitionWatch } from "./repetition.ts";
import { replayed } from "./replay.ts";
import { type GivenOptions, type SessionOptions, completeOptions, differing } from "./session_options.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { StoredAdapter } from "./stored_adapter.ts";
import { scores, scoresFirst, totalOf } from "./scoring.ts";
import type { LearnerSnapshot } from "./trainer.ts";
import { type Renewal, type Renewed, Writer, type WriterSnapshot } from "./writer.ts";

/** All that the next steps of a session depend on, on the host. */
export interface SessionSnapshot {
  /** The options of the session. */
  readonly options: SessionOptions;
  readonly ids: Int32Array;
  /** 1 for each of `ids` that the session has written itself. */
  readonly written: Int32Array;
  /** Tokens handed to the learner, and chunks. */
  readonly learnt: number;
  readonly chunks: number;
  /** Of what was written. */
  readonly entropies: Entropies;
  /** What the chunk in progress has cost; null while there is none. */
  readonly spent: Spent | null;
  readonly learner: LearnerSnapshot | null;
  /** The frozen model's context, where chunks share its cache. */
  readonly base: ContextSnapshot | null;
  /** The frozen model's memory. */
  readonly neighbours: NeighboursSnapshot | null;
  /** A and B of the adapter that the session writes with, where it is not the learner's. */
  readonly adapter: Float32Array | null;
  /** What came of a chunk that the learner has learnt, and whose adapter is not taken yet. */
  readonly untaken: Outcome | null;
  /** Null before the first token is chosen. */
  readonly writer: WriterSnapshot | null;
}

/** A session in the midst of a text that none has read: for what is counted and not computed. `learnt` of `length` tokens are behind it. */
export const midway = (
  options: SessionOptions,
  { length, learnt }: { readonly length: number; readonly learnt: number },
): SessionSnapshot => ({
  ...{ options, ids: new Int32Array(length), written: new Int32Array(length), learnt },
  ...{ chunks: Math.ceil(learnt / options.chunk), entropies: new RepetitionWatch().snapshot() },
  ...{ spent: null, learner: null, base: null, neighbours: null, adapter: null, untaken: null, writer: null },
});

/** What comes of a chunk that was handed to the learner, beside the adapter. */
export interface Outcome {
  readonly record: ChunkRecord;
  /** Keys and values for the writer. */
  readonly renewed: Renewed | null;
}

/** A chunk that was handed to the learner. */
interface Handed extends Pick<Update, "reaches"> {
  outcome(): Promise<Outcome>;
}

export class Session implements Disposable {
  readonly model: Llama;
  readonly options: SessionOptions;
  readonly task: Task;
  /** What the session writes with; null = the base model. */
  readonly adapter: Learnable | null;
  readonly #learner: Learner | null;
  /** The adapter, where it is not the learner's own. */
  readonly #copy: Learnable | null = null;
  /** What the frozen model reads through, where its keys serve for several chunks; null: each chunk's context is read anew. */
  readonly #base: FrozenContext | null = null;
  /** The frozen model's memory of the text, and the adapted one's; null where there is none, or it is another thread's. */
  readonly baseMemory: Neighbours | null = null;
  readonly loraMemory: Neighbours | null = null;
  readonly #text = new GrowingText();
  readonly #owned: DisposableStack;
  /** Tokens handed to the learner, or passed over by `learn` where there is no adapter. */
  #learnt = 0;
  /** Chunks handed to the learner, those among them that it was not to learn. */
  #chunks = 0;
  readonly #repetition = new RepetitionWatch();
  /** The last of them, until its adapter is taken. */
  #handed: Handed | null = null;
  /** Made when the first token is chosen. */
  #writer: Writer | null = null;
  /** Measures the chunk in progress; null while there is none. */
  #watch: Stopwatch | null = null;
  /** The step that is running. */
  #busy: string | null = null;
  #disposed = false;
  /** A step that changes the learner, or what the frozen model reads through, was begun and is not finished. */
  #halfDone = false;

  /**
   * The caller disposes of it. `place`: where it learns, such as `besideWriter`; by default in this thread, and then "parallel" gives
   * the same bits as in another, but saves no time.
   */
  constructor(model: Llama, given: GivenOptions = {}, place?: Place) {
    const options = completeOptions(given, model.config);
    const { recipe, seed, schedule, adapter } = options;
    using stack = new DisposableStack();
    this.model = model;
    this.options = options;
    this.task = stack.use(new Task(model.device));
    if (!options.templora) [this.#learner, this.adapter] = [null, null];
    else if (schedule === "cascaded" && !place) {
      const local = stack.use(new LocalLearner(model, options, this.task));
      [this.#learner, this.adapter] = [local, local.adapter];
      this.loraMemory = local.neighbours;
    } else {
      this.#learner = stack.use(place?.(model, options) ?? new LocalLearner(model, options));
      this.adapter = this.#copy = stack.use(learnable(model, recipe, seed, adapter));
    }
    if (sharesBase(options)) {
      const { chunk, window, reuseCache: reuse } = options;
      this.#base = stack.use(new FrozenContext(this.task, model, { capacity: window + chunk, reuse }));
    }
    const memory = neighbourOptions(options);
    if (options.baseline && memory)
      this.baseMemory = stack.use(new Neighbours(this.task, model.config.hidden_size, memory));
    this.#owned = stack.move();
  }

  /** The text so far. */
  get ids(): Int32Array {
    return this.#text.ids().slice();
  }

  get length(): number {
    return this.#text.length;
  }

  /** Tokens that were handed to the learner. */
  get learnt(): number {
    return this.#learnt;
  }

  /** Whether a whole chunk waits to be learnt; `next` needs it learnt first: `while (session.due) await session.learn()`. */
  get due(): boolean {
    return this.#learner !== null && this.length - this.#learnt >= this.options.chunk;
  }

  /** Whether a chunk was handed to the learner whose adapter is not taken yet. */
  get learning(): boolean {
    return this.#handed !== null;
  }

  /** Adds given tokens to the text; the model reads them in the next step that needs them. */
  prefill(ids: Int32Array): void {
    this.#assertIdle("prefill");
    this.model.assertIds(ids);
    this.#text.append(ids, 0);
  }

  /** Chooses the next token and adds it to the text; null = one of `stopIds`, where the text ends. */
  next(): Promise<number | null> {
    return this.#step("next", async () => {
      const { chunk, templora, recipe } = this.options;
      assertGuards(templora ? recipe : null, false);
      if (this.due)
        throw new Error(
          `a chunk of ${chunk} tokens waits: while (session.due) await session.learn() comes before next()`,
        );
      if (this.length === 0)
        throw new BadInputError("the prompt is empty: give at least one token to go on from");
      if (!this.#writer) await this.#learner?.ready(); // the first token waits for it, so that no other has to
      // The wait for an update that takes longer than a chunk is spread over its tokens.
      await this.#handed?.reaches((this.length + 1 - this.#learnt) / chunk);
      return this.task.unit(async () => {
        this.#watch ??= new Stopwatch(this.task.meter);
        const writer = this.#writing();
        const { id, entropy } = await writer.next(this.#text, this.#learnt);
        if (this.options.stopIds.includes(id)) {
          writer.takeBack();
          return null;
        }
        this.#text.append([id], 1);
        this.#repetition.wrote(entropy);
        return id;
      });
    });
  }

  #writing(): Writer {
    if (!this.#writer) {
      this.#writer = this.#owned.use(new Writer(this.task, this.model, this.adapter, this.options));
    }
    return this.#writer;
  }

  /**
   * Learns the next chunk, or what there is of it at the text's end: scores it, then trains on it. A chunk with tokens that the
   * session wrote is scored only where the score is the first pass of the training anyway; it is passed over where it repeats itself
   * and `onRepetition` says so.
   * `tokens`: how many, where a chunk has a length of its own.
   */
  learn(tokens = this.options.chunk): Promise<ChunkRecord> {
    return this.#step("learn", async () => {
      await this.#hand(false, tokens);
      return this.#take();
    });
  }

  /** Hands the next chunk to the learner, whose result `take` waits for; the session goes on writing with the adapter that it has. */
  hand(): Promise<void> {
    return this.#step("hand", () => this.#hand(true, this.options.chunk));
  }

  /** Waits until the chunk that was handed to the learner is learnt; from then on the session writes with that adapter. */
  take(): Promise<ChunkRecord> {
    return this.#step("take", () => this.#take());
  }

  /** `beside`: the next chunk will be written meanwhile. `tokens` of this one, if there are so many. */
  async #hand(beside: boolean, tokens: number): Promise<void> {
    const { chunk, window, trainWindow, keepBos, recipe, baseline, tokenScores, onRepetition, seed } =
      this.options;
    const { task, model } = this;
    const start = this.#learnt;
    if (this.#handed) throw new Error("a chunk is being learnt: take() its adapter first");
    if (start >= this.length) throw new Error("there is nothing to learn: prefill() or next() first");
    const index = this.#learner ? this.#chunks : Math.ceil(start / chunk);
    const span: ChunkSpan = { index, start, end: Math.min(this.length, start + tokens) };
    const text = this.#text.ids();
    const bos = keepBos ? bosOf(text, model.config) : null;
    const scored = sequence(text, span, window, bos);
    const trained = sequence(text, span, trainWindow, bos);
    const watch = this.#watch ?? new Stopwatch(task.meter);
    watch.book("score"); // what writing the chunk took
    let base: Float32Array | null = null;
    if (baseline) {
      this.#halfDone = this.#base !== null || this.baseMemory !== null; // which would take in the chunk twice
      base = await task.unit(() =>
        scores(task, model, scored, null, this.#base?.prepare(scored, null), this.baseMemory),
      );
      this.#halfDone = false;
      watch.book("base");
    }
    const given = !this.#text.written(start, span.end).includes(1);
    const shared = scoresFirst(recipe, scored, trained);
    const ahead = async (): Promise<Renewal | null> => this.#writer?.ahead(this.#text, span.end) ?? null;
    const renewal = beside ? await task.unit(ahead) : null;
    const found = this.#repetition.endOf(span, this.#text);
    const passedOver = found?.repeats === 1 && onRepetition === "skip";
    const update = passedOver
      ? undefined
      : this.#learner?.begin({
          scored: given || shared ? scored : null,
          ...{ trained, base: base && totalOf(base), renewal },
          replayed: replayed(text.subarray(0, start), recipe.replay, seed, index),
        });
    this.#learnt = span.end;
    this.#chunks++;
    this.#watch = null;
    this.#handed = {
      reaches: (share) => update?.reaches(share),
      outcome: async () => {
        const learnt = await update?.result();
        const lora = learnt?.scores ?? null;
        const record = {
          ...{ index, start, tokens: scored.targets.length, context: scored.context },
          base_nll: base && totalOf(base),
          lora_nll: lora && totalOf(lora),
          ...(tokenScores && { token_scores: { base: base && [...base], lora: lora && [...lora] } }),
          train_loss: learnt?.train_loss ?? [],
          lr: learnt?.lr ?? 0,
          skipped_steps: learnt?.skipped_steps ?? 0,
          ...(learnt?.undone !== undefined && { undone: learnt.undone }),
          ...sumOf(watch.spent, learnt),
          ...found,
        };
        return { record, renewed: learnt?.renewed ?? null };
      },
    };
  }

  async #take(): Promise<ChunkRecord> {
    if (!this.#handed) throw new Error("nothing is being learnt: hand() a chunk first");
    this.#halfDone = true;
    const { record, renewed } = await this.#handed.outcome();
    const values = this.#copy && (await this.#learner?.values());
    await this.task.unit(async () => {
      if (values) this.#copy?.parameters.replace(values);
      this.#writer?.updated(renewed);
    });
    this.#halfDone = false;
    this.#handed = null;
    return record;
  }

  /** A copy of the adapter as it is now, to be saved (`saveAdapter`) or for another session to begin with. */
  storedAdapter(): Promise<StoredAdapter> {
    return this.#step("storedAdapter", () =>
      this.task.unit(() => {
        if (!this.adapter) throw new BadInputError("a session of the base model alone has no adapter");
        return this.adapter.store();
      }),
    );
  }

  /** A copy of the session's state between two steps; an update in progress comes to its end first. */
  snapshot(): Promise<SessionSnapshot> {
    return this.#step("snapshot", async () => {
      const untaken = (await this.#handed?.outcome()) ?? null;
      const learner = (await this.#learner?.snapshot()) ?? null;
      return this.task.unit(async () => ({
        options: this.options,
        ids: this.ids,
        written: this.#text.written().slice(),
        ...{ learnt: this.#learnt, chunks: this.#chunks, entropies: this.#repetition.snapshot() },
        spent: this.#spent(),
        learner,
        base: (await this.#base?.snapshot()) ?? null,
        neighbours: (await this.baseMemory?.snapshot()) ?? null,
        adapter: (await this.#copy?.parameters.values.data()) ?? null,
        untaken,
        writer: (await this.#writer?.snapshot()) ?? null,
      }));
    });
  }

  /** Puts the session into the state that `snapshot` was taken of; its options and model must be the same. */
  restore(snapshot: SessionSnapshot): Promise<void> {
    return this.#step("restore", async () => {
      const { options, ids, written, learnt, chunks, entropies } = snapshot;
      const { spent, learner, base, neighbours, adapter, untaken, writer } = snapshot;
      this.model.assertIds(ids);
      const other = differing(options, this.options);
      if (other) throw new BadInputError(`the snapshot is of a session with another ${other}`);
      if (written.length !== ids.length || !(learnt >= 0 && learnt <= ids.length))
        throw new BadInputError("the snapshot does not fit together: it is damaged");
      this.#halfDone = true;
      if (learner) await this.#learner?.restore(learner);
      await this.task.unit(async () => {
        if (adapter) this.#copy?.parameters.replace(adapter);
        this.#base?.restore(base, 0);
        this.baseMemory?.restore(neighbours);
        this.#text.restore(ids, written);
        this.#learnt = learnt;
        this.#chunks = chunks;
        this.#repetition.restore(entropies);
        this.#handed = untaken && { reaches: () => undefined, outcome: () => Promise.resolve(untaken) };
        this.#watch = spent && new Stopwatch(this.task.meter, spent);
        (writer ? this.#writing() : this.#writer)?.restore(writer);
        await this.task.device.flush(); // what goes wrong in it is not for a later step to tell
      });
      this.#halfDone = false;
    });
  }

  toString(): string {
    const adapter = this.adapter ? `${this.#learnt} learnt` : "base model";
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

/** Whether the frozen model's keys serve for as many chunks as the adapted one's do. */
function sharesBase(options: SessionOptions): boolean {
  const { baseline, reuseCache, templora, recipe, window, trainWindow } = options;
  return baseline && reuseCache > 0 && window === trainWindow && !(templora && recipe.context_grad);
}
