/**
 * Who learns the chunks of a session, one after the other. `here` is the session's own thread, where an update runs when its result
 * is asked for; thread_learner.ts has the same learner in a thread of its own, where it runs at once. A session asks for the results
 * at the same places of its text either way, so both give the same bits.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { Task } from "../engine/task.ts";
import { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import type { Sequence } from "./chunks.ts";
import type { NeighbourOptions } from "./neighbours.ts";
import type { SessionOptions } from "./session_options.ts";
import type { Spent } from "./records.ts";
import { Stopwatch } from "./stopwatch.ts";
import { type LearnerOptions, type LearnerSnapshot, TempLora, type TrainedChunk } from "./trainer.ts";
import type { Renewal, Renewed } from "./writer.ts";

/** A chunk, as TempLora.learn takes it. */
export interface Lesson {
  /** What to score first; null where nothing is. */
  readonly scored: Sequence | null;
  readonly trained: Sequence;
  /** What is learnt once more with it; null: nothing. */
  readonly replayed: Sequence | null;
  /** The frozen model's sum for what is scored, nats; null where it has not read it. */
  readonly base: number | null;
  /** What to make for the writer afterwards. */
  readonly renewal: Renewal | null;
}

/** What a lesson brought, and took. */
export type Learnt = TrainedChunk & Spent & { readonly renewed: Renewed | null };

/** A lesson in progress. */
export interface Update {
  /** Resolves when this share of it is done, from 0 to 1, or it has failed; a share below 1 may be given up where it takes long. */
  reaches(share: number): Promise<void> | void;
  /** Resolves when it has ended; rejects with what went wrong. Any number of calls. */
  result(): Promise<Learnt>;
}

export interface Learner extends Disposable {
  /** Resolves when an update can begin. */
  ready(): Promise<void>;
  /** Begins an update. One at a time: the results of those before have been asked for. */
  begin(lesson: Lesson): Update;
  /** A and B, in the layout of the parameters' flat buffer. */
  values(): Promise<Float32Array>;
  snapshot(): Promise<LearnerSnapshot>;
  restore(snapshot: LearnerSnapshot): Promise<void>;
}

/** Makes the learner of a session. */
export type Place = (model: Llama, options: SessionOptions) => Learner;

/** What a session's memories are; null = it has none. */
export function neighbourOptions({ knn, knnTokens }: SessionOptions): NeighbourOptions | null {
  return knn !== 0 ? { share: knn, capacity: knnTokens } : null;
}

/** What a session asks of its learner. */
export function learnerOptions(options: SessionOptions): LearnerOptions {
  const { chunk, trainWindow, reuseCache: reuse, checkpointLayers, adapter } = options;
  const neighbours = neighbourOptions(options);
  return { context: { capacity: trainWindow + chunk, reuse }, checkpointLayers, adapter, neighbours };
}

/** Learns on the model's own device, in this thread. */
export class LocalLearner implements Learner {
  readonly #model: Llama;
  readonly #task: Task;
  readonly #lora: TempLora;
  readonly #owned: DisposableStack;

  /** `task`: that of the session, where nothing runs beside an update; default: one of its own. */
  constructor(model: Llama, options: SessionOptions, task?: Task) {
    using stack = new DisposableStack();
    this.#model = model;
    this.#task = task ?? stack.use(new Task(model.device));
    const { recipe, seed } = options;
    this.#lora = stack.use(new TempLora(this.#task, model, recipe, seed, learnerOptions(options)));
    this.#owned = stack.move();
  }

  get adapter(): TempLora["adapter"] {
    return this.#lora.adapter;
  }

  get neighbours(): TempLora["neighbours"] {
    return this.#lora.neighbours;
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  begin(lesson: Lesson): Update {
    let result: Promise<Learnt> | null = null;
    return { reaches: () => undefined, result: () => (result ??= this.#learn(lesson)) };
  }

  async #learn({ scored, trained, replayed, base, renewal }: Lesson): Promise<Learnt> {
    const watch = new Stopwatch(this.#task.meter);
    const learnt = await this.#lora.learn(scored, trained, watch, base, replayed);
    const renewed = renewal && (await this.#task.unit(() => this.#renew(renewal)));
    watch.book("score"); // it spares the writer as much
    return { ...learnt, ...watch.spent, renewed };
  }

  /** Keys and values of some tokens, with the adapter as it is. */
  async #renew({ start, ids, position }: Renewal): Promise<Renewed> {
    const [task, model] = [this.#task, this.#model];
    const end = start + ids.length;
    if (ids.length === 0) return { start, end, rows: [] };
    using _scope = task.scope();
    using cache = new KVCache(task.device, model.config, ids.length);
    cache.position = position;
    model.forward(model.ids(task, ids), { adapter: this.adapter, cache, from: ids.length - 1 });
    return { start, end, rows: (await cache.snapshot()).rows };
  }

  values(): Promise<Float32Array> {
    return this.#task.unit(() => this.adapter.parameters.values.data());
  }

  snapshot(): Promise<LearnerSnapshot> {
    return this.#task.unit(() => this.#lora.snapshot());
  }

  restore(snapshot: LearnerSnapshot): Promise<void> {
    return this.#task.unit(async () => this.#lora.restore(snapshot));
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
