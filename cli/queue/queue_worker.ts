/**
 * Takes tasks from the queues that this machine can hold, one at a time. BullMQ's child process reads the text; this process keeps the
 * task's lock, tells the queue how far it is, and listens for Ctrl-C and `jobs --cancel`, however long an update blocks the child.
 */
import { setTimeout } from "node:timers/promises";
import { counted } from "../format.ts";
import type { Io, Terminal } from "../output.ts";
import type { WorkerMetrics } from "./metrics.ts";
import { type QueueFacts, inQueue } from "./queue_server.ts";
import type { Queues, TaskProgress } from "./queues.ts";
import {
  type TaskJob,
  type TaskWorker,
  type WorkerSetting,
  freeChild,
  openTaskWorker,
} from "./task_worker.ts";
import { identityHere } from "./tasks.ts";

/** Between two looks for work, when there was none. */
const IDLE_MS = 500;
/** Between two looks whether a task in progress is cancelled. */
const CANCEL_MS = 1000;

export class QueueWorker implements AsyncDisposable {
  readonly #queues: Queues;
  readonly #setting: WorkerSetting;
  readonly #io: Io;
  readonly #terminal: Terminal;
  readonly #metrics: WorkerMetrics | null;
  readonly #workers = new Map<string, TaskWorker | null>();
  /** Stores whose tasks are left to others. */
  readonly #others = new Set<string>();
  #used: TaskWorker | null = null;
  #tokens = 0;
  #isAway = false;
  #gaveBack = false;

  constructor(
    queues: Queues,
    setting: WorkerSetting,
    io: Io,
    terminal: Terminal,
    metrics: WorkerMetrics | null,
  ) {
    this.#queues = queues;
    this.#setting = setting;
    this.#io = io;
    this.#terminal = terminal;
    this.#metrics = metrics;
  }

  /** Whether the stop has put a task back. */
  get gaveBack(): boolean {
    return this.#gaveBack;
  }

  /** Until the signal, or until there is nothing left. */
  async run(): Promise<void> {
    const { signal } = this.#io;
    while (!signal.aborted) {
      let worked = false;
      try {
        worked = await this.#next();
        if (!worked && this.#setting.untilEmpty && (await this.#left(true)) === 0) {
          const left = await this.#left(false);
          if (left > 0)
            this.#terminal.note(`${counted(left, "task")} left in queues that are not for this worker`);
          return;
        }
      } catch (error) {
        this.#fails(error as Error);
      }
      if (!worked) await setTimeout(IDLE_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Works on one task, the largest first; false where there is none. */
  async #next(): Promise<boolean> {
    for (const facts of await this.#queues.known()) {
      const worker = await this.#workerOf(facts);
      if (!worker || this.#io.signal.aborted) continue;
      const job = await worker.getNextJob(`${worker.id}:${this.#tokens++}`, { block: false });
      if (!job) continue;
      this.#answers();
      if (this.#used !== worker) await freeChild(this.#used); // its memory
      this.#used = worker;
      await this.#process(worker, job);
      return true;
    }
    this.#answers();
    return false;
  }

  async #process(worker: TaskWorker, job: TaskJob): Promise<void> {
    const key = job.data.key;
    const began = performance.now();
    this.#terminal.note(`${job.data.text.name}: begun (${key.slice(0, 12)})`);
    const look = setInterval(() => {
      this.#queues.server.isCancelled(inQueue(worker, key)).then(
        (cancelled) => cancelled && worker.cancelJob(job.id ?? "", "cancelled"),
        () => undefined,
      );
    }, CANCEL_MS);
    const stop = (): void => worker.cancelAllJobs("stopped");
    this.#io.signal.addEventListener("abort", stop);
    try {
      await worker.processJob(job, job.token ?? "", () => false);
    } finally {
      clearInterval(look);
      this.#io.signal.removeEventListener("abort", stop);
      this.#metrics?.ended((performance.now() - began) / 1000);
    }
  }

  /** Null where this machine has no such model, or too little memory for its tasks, or they are of another store. */
  async #workerOf(facts: QueueFacts): Promise<TaskWorker | null> {
    const known = this.#workers.get(facts.name);
    if (known !== undefined) return known;
    const { name, gib, model, store = "" } = facts;
    const refuse = (why: string): void => this.#terminal.note(`not for this machine: ${name}, ${why}`);
    let worker: TaskWorker | null = null;
    if (store !== this.#setting.store.id) {
      if (!this.#others.has(store)) this.#terminal.note("not for this worker: tasks of another store");
      this.#others.add(store);
    } else if (gib * 2 ** 30 > this.#setting.memory) refuse(`its tasks take up to ${gib} GiB (--memory)`);
    else if ((await identityHere(model.name, this.#terminal, this.#io)) !== model.identity)
      refuse(
        `${model.name}: no such model here, or another one of this name or for another version of templora`,
      );
    else worker = await this.#open(facts);
    this.#workers.set(name, worker);
    return worker;
  }

  #open(facts: QueueFacts): Promise<TaskWorker> {
    const { signal } = this.#io;
    const hear = (worker: TaskWorker): void => void this.#hear(worker);
    const onBack = (): void => void (this.#gaveBack ||= signal.aborted);
    return openTaskWorker(this.#queues, facts, this.#setting, signal, hear, onBack);
  }

  #hear(worker: TaskWorker): void {
    worker.on("error", (error) => this.#fails(error));
    worker.on("failed", (job, error) => {
      const again = job !== undefined && job.finishedOn === undefined;
      if (!again) this.#metrics?.count("failed");
      const tries = again
        ? `, to be tried again (${job.attemptsMade} of ${job.opts.attempts ?? 1} tries)`
        : "";
      this.#terminal.note(`${job?.data.text.name ?? "a task"}: failed${tries}: ${error.message}`);
    });
    worker.on("completed", (job, ending) => {
      this.#metrics?.count(ending.ended === "done" && ending.made ? "made" : "there");
      this.#terminal.note(`${job.data.text.name}: done`);
    });
    worker.on("progress", (job, progress) => this.#metrics?.progress(job.id ?? "", progress as TaskProgress));
  }

  /** Told once, and once that it is over. */
  #fails(error: Error): void {
    if (!this.#isAway) this.#terminal.note(`the queue: ${error.message}; trying again`);
    this.#isAway = true;
  }

  #answers(): void {
    if (this.#isAway) this.#terminal.note("the queue: it answers again");
    this.#isAway = false;
  }

  /** Tasks that are not ended, in the queues that this worker takes from, or in the others. */
  async #left(here: boolean): Promise<number> {
    let left = 0;
    for (const facts of await this.#queues.known()) {
      if (((await this.#workerOf(facts)) !== null) !== here) continue;
      const counts = await this.#queues.of(facts).getJobCounts("wait", "active", "delayed");
      for (const n of Object.values(counts)) left += n;
    }
    return left;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#workers.values()) await worker?.close();
  }
}
