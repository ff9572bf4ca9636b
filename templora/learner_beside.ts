/**
 * A learner in a thread of its own, beside the writer: it has its own device and its own copy of the model, which it reads from the
 * model's files. The threads of the writer's device are divided between the two while both work; whoever works alone has them all.
 */
import type { Device } from "../engine/device.ts";
import { BadInputError, DeviceError, DeviceLostError, NonFiniteError } from "../engine/errors.ts";
import type { Build } from "../engine/backends/cpu/options.ts";
import type { Thread } from "../engine/backends/host/workers.js";
import type { Llama } from "../model/llama.ts";
import type { Sequence } from "./chunks.ts";
import type { Learner, Lesson, Place, Update } from "./learner.ts";
import type { Answer, Beginning, Failure, Name, Opened, Question, Questions } from "./learner_thread.ts";
import { Pace } from "./pace.ts";
import type { SessionOptions } from "./session_options.ts";
import { nothingDone, shareOf, toldProgress } from "./timeline.ts";
import type { LearnerSnapshot } from "./trainer.ts";

const MODULE = new URL(
  import.meta.url.endsWith(".ts") ? "./learner_thread.ts" : "./learner_thread.js",
  import.meta.url,
).href;

/** How often the writer looks how far an update is, which it waits for. */
const LOOK_MS = 1;

/** The place of a learner beside the writer, for the schedule "parallel". */
export const besideWriter: Place = (model, options) => {
  assertRoomBeside(model.device);
  return new LearnerBeside(model, options);
};

/** Throws where a learner has no place beside this device. */
export function assertRoomBeside({ info }: Pick<Device, "info">): void {
  if (info.kind !== "cpu")
    throw new BadInputError(
      `schedule parallel: not on the ${info.kind} device; device cpu runs it, or schedule cascaded`,
    );
}

class LearnerBeside implements Learner {
  readonly #threads: number;
  /** Of the writer's device, and of the learner's. */
  readonly #share: Int32Array;
  #opened: Opened = { share: Int32Array.of(1), values: new Float32Array() };
  readonly #progress = toldProgress();
  readonly #pace = new Pace();
  /** With its copy of the model. */
  readonly #thread: Promise<Thread>;
  #started: Thread | null = null;
  /** What takes the answers, in the order of the questions. */
  readonly #asked: ((answer: Answer) => void)[] = [];
  /** Why no answer will come any more. */
  #lost: Failure | null = null;
  #disposed = false;

  constructor(model: Llama, { adapter, ...options }: SessionOptions) {
    const { facts } = model.device.info;
    this.#threads = Number(facts["threads"]);
    this.#share = model.device.share ?? Int32Array.of(1);
    this.#thread = this.#start({
      ...{ module: MODULE, source: model.source, config: model.config, options },
      device: { threads: this.#threads, build: facts["build"] as Build },
      adapter: adapter && {
        ...{ config: adapter.config, layout: adapter.layout, values: adapter.values, source: adapter.source },
      },
      progress: this.#progress,
    });
    this.#thread.catch(() => undefined); // whoever asks it gets the error
  }

  /** Resolves when the thread has its copy of the model; it then keeps no process alive. */
  async #start(beginning: Beginning): Promise<Thread> {
    const { START, Thread } = await import("../engine/backends/host/workers.js");
    const thread = new Thread(START, beginning, "templora learner");
    this.#started = thread;
    thread.onMessage((message) => {
      if (message !== "ready") this.#asked.shift()?.(message as Answer);
    });
    void thread.ended.then((why) => {
      this.#lost = { name: "DeviceLostError", message: `the thread that learns has ended: ${why}` };
      for (const take of this.#asked.splice(0)) take({ error: this.#lost });
    });
    try {
      if (this.#disposed) await thread.terminate();
      await thread.ready;
      this.#opened = await this.#ask(thread, "open", null);
    } catch (error) {
      await thread.terminate();
      throw error;
    }
    this.#lend(false);
    thread.unref();
    return thread;
  }

  #ask<N extends Name>(
    thread: Thread,
    name: N,
    asked: Questions[N]["asks"],
  ): Promise<Questions[N]["answer"]> {
    return new Promise((resolve, reject) => {
      if (this.#lost) throw errorOf(this.#lost);
      this.#asked.push((answer) => {
        if ("error" in answer) reject(errorOf(answer.error));
        else resolve(answer.answer as Questions[N]["answer"]);
      });
      thread.post({ name, asked } satisfies Question);
    });
  }

  /** Threads of the writer while both work. */
  get #own(): number {
    return Math.max(1, Math.floor(this.#threads / 2));
  }

  /** Gives the learner all threads, while the writer waits, or those that are not the writer's. */
  #lend(all: boolean): void {
    this.#opened.share[0] = all ? this.#threads : Math.max(1, this.#threads - this.#own);
  }

  /** Waits for something of the thread's, which keeps the process alive for so long. */
  async #waitFor<T>(result: (thread: Thread) => Promise<T>): Promise<T> {
    const thread = await this.#thread;
    thread.ref();
    this.#lend(true);
    try {
      return await result(thread);
    } finally {
      this.#lend(false);
      thread.unref();
    }
  }

  ready(): Promise<void> {
    return this.#waitFor(() => Promise.resolve());
  }

  begin({ scored, trained, replayed, base, renewal }: Lesson): Update {
    const lesson = {
      scored: scored && sent(scored),
      trained: sent(trained),
      replayed: replayed && sent(replayed),
      base,
      renewal: renewal && { ...renewal, ids: renewal.ids.slice() },
    };
    nothingDone(this.#progress);
    this.#share[0] = this.#own;
    let ended = false;
    const end = (): void => {
      ended = true;
      this.#share[0] = this.#threads;
    };
    const learnt = this.#thread.then((thread) => this.#ask(thread, "learn", lesson));
    void learnt.then(end, end); // what went wrong is for the result to tell
    const reached = (share: number): boolean => ended || shareOf(this.#progress) >= share;
    this.#pace.begins(performance.now());
    return {
      reaches: (share) => {
        const now = performance.now();
        const patience = this.#pace.patience(now);
        if (reached(share)) return;
        const until = share < 1 ? now + patience : Infinity; // the chunk's last token waits for all of it
        return this.#waitFor(async () => {
          while (!reached(share) && performance.now() < until)
            await new Promise((resume) => setTimeout(resume, LOOK_MS));
        });
      },
      result: () => this.#waitFor(() => learnt),
    };
  }

  async values(): Promise<Float32Array> {
    await this.#thread;
    return this.#opened.values;
  }

  snapshot(): Promise<LearnerSnapshot> {
    return this.#waitFor((thread) => this.#ask(thread, "snapshot", null));
  }

  async restore(snapshot: LearnerSnapshot): Promise<void> {
    await this.#waitFor((thread) => this.#ask(thread, "restore", snapshot));
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#share[0] = this.#threads;
    void this.#started?.terminate();
  }
}

/** Copies: a message holds all of the memory that an array is a part of. */
function sent(sequence: Sequence): Sequence {
  return { ...sequence, inputs: sequence.inputs.slice(), targets: sequence.targets.slice() };
}

const errors = { BadInputError, DeviceError, DeviceLostError, NonFiniteError };

/** The error as it would be without a thread between. */
function errorOf({ name, message }: Failure): Error {
  const Class = Object.entries(errors).find(([known]) => known === name)?.[1] ?? Error;
  return new Class(message);
}
