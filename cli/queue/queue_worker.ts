/**
 * Takes tasks from the queues that this machine can hold, one at a time. BullMQ's child process reads the text; this process keeps the
 * task's lock, tells the queue how far it is, and listens for Ctrl-C and `jobs --cancel`, however long an update blocks the child.
 */
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import type { Job, Worker, WorkerOptions } from "bullmq";
import type { Io, Terminal } from "../output.ts";
import type { WorkerMetrics } from "./metrics.ts";
import { SETTING } from "./processor_setting.ts";
import type { QueueFacts } from "./queue_server.ts";
import type { Queues, TaskProgress } from "./queues.ts";
import type { Ending, Setting } from "./run_task.ts";
import { type Task, identityHere } from "./tasks.ts";

export interface WorkerSetting extends Setting {
  readonly store: string;
  /** Bytes that a task may take. */
  readonly memory: number;
  /** A worker that was not heard of for so long is taken to be dead. */
  readonly lockMs: number;
  /** End when there is nothing left to do. */
  readonly untilEmpty: boolean;
}

/** Times that a task may lose its worker to a kill before it counts as what kills them. */
const MOST_LOST = 50;
/** Between two looks for work, when there was none. */
const IDLE_MS = 500;
/** Between two looks whether a task in progress is cancelled. */
const CANCEL_MS = 1000;
/** Until a task that another worker has taken over is looked at again. */
const STALE_MS = 5000;

const stopped: Ending = { ended: "stopped" };

type TaskWorker = Worker<Task, Ending, "task">;

export class QueueWorker implements AsyncDisposable {
  readonly #queues: Queues;
  readonly #setting: WorkerSetting;
  readonly #io: Io;
  readonly #terminal: Terminal;
  readonly #metrics: WorkerMetrics | null;
  readonly #workers = new Map<string, TaskWorker | null>();
  #used: TaskWorker | null = null;
  #tokens = 0;

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

  /** Until the signal, or until there is nothing left. */
  async run(): Promise<void> {
    const { signal } = this.#io;
    while (!signal.aborted) {
      let worked = false;
      try {
        worked = await this.#next();
        if (!worked && this.#setting.untilEmpty && (await this.#isEmpty())) return;
      } catch (error) {
        this.#terminal.note(`the queue: ${(error as Error).message}; trying again`);
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
      if (this.#used !== worker) await freeChild(this.#used); // its memory
      this.#used = worker;
      await this.#process(worker, job);
      return true;
    }
    return false;
  }

  async #process(worker: TaskWorker, job: Job<Task, Ending, "task">): Promise<void> {
    const key = job.data.key;
    const began = performance.now();
    this.#terminal.note(`${job.data.text.name}: begun (${key.slice(0, 12)})`);
    const look = setInterval(() => {
      this.#queues.server.isCancelled(key).then(
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

  /** Null where this machine has no such model, or too little memory for its tasks. */
  async #workerOf(facts: QueueFacts): Promise<TaskWorker | null> {
    const known = this.#workers.get(facts.name);
    if (known !== undefined) return known;
    const refuse = (why: string): void => this.#terminal.note(`not for this machine: ${facts.name}, ${why}`);
    let worker: TaskWorker | null = null;
    if (facts.gib * 2 ** 30 > this.#setting.memory)
      refuse(`its tasks take up to ${facts.gib} GiB (--memory)`);
    else if ((await identityHere(facts.model.name, this.#terminal, this.#io)) !== facts.model.identity)
      refuse(
        `${facts.model.name}: no such model here, or another one of this name or for another version of templora`,
      );
    else worker = await this.#open(facts);
    this.#workers.set(facts.name, worker);
    return worker;
  }

  async #open({ name }: QueueFacts): Promise<TaskWorker> {
    const { lockMs, store, device, threads, checkpointMs } = this.#setting;
    const setting = JSON.stringify({ store, device, threads, checkpointMs });
    const { connection, backend } = this.#queues.server;
    const options: WorkerOptions = {
      ...{ connection, autorun: false, maxStalledCount: MOST_LOST },
      ...{ lockDuration: lockMs, stalledInterval: lockMs },
      workerForkOptions: { env: { ...process.env, [SETTING]: setting } },
    };
    const worker = new (this.#workerClass())(name, processorFile(), options, backend);
    worker.on("error", (error) => this.#terminal.note(`the queue: ${error.message}`));
    worker.on("failed", (job, error) => {
      this.#metrics?.count("failed");
      this.#terminal.note(`failed: ${job?.data.text.name ?? ""}: ${error.message}`);
    });
    worker.on("completed", (job, ending) => {
      this.#metrics?.count(ending.ended === "done" && ending.made ? "made" : "there");
      this.#terminal.note(`${job.data.text.name}: done`);
    });
    worker.on("progress", (job, progress) => this.#metrics?.progress(job.id ?? "", progress as TaskProgress));
    await worker.waitUntilReady().catch(async (error: unknown) => {
      await worker.close();
      throw error;
    });
    await worker.startStalledCheckTimer();
    return worker;
  }

  #workerClass(): typeof Worker<Task, Ending, "task"> {
    const { Worker, WaitingError, UnrecoverableError } = this.#queues.bullmq;
    const { server } = this.#queues;
    const { signal: stop } = this.#io;
    return class extends Worker<Task, Ending, "task"> {
      protected override async callProcessJob(
        job: Job<Task, Ending, "task">,
        token: string,
        signal?: AbortSignal,
      ): Promise<Ending> {
        this.lockManager.start();
        const began = !stop.aborted; // it may have come while the task was fetched
        const ending = began ? await super.callProcessJob(job, token, signal) : stopped;
        if (ending.ended === "done") return ending;
        if (await server.isCancelled(job.data.key)) throw new UnrecoverableError("cancelled");
        // waited for here: the queue's own delays are told by the clocks of machines, which may differ by any amount
        if (ending.ended === "stale")
          await setTimeout(STALE_MS, undefined, { signal: stop }).catch(() => undefined);
        await job.moveToWait(token);
        throw new WaitingError();
      }
    };
  }

  /** Whether nothing is left that this machine could do, now or after another worker's death. */
  async #isEmpty(): Promise<boolean> {
    for (const facts of await this.#queues.known()) {
      if (!(await this.#workerOf(facts))) continue;
      const counts = await this.#queues.of(facts).getJobCounts("wait", "active", "delayed");
      if (Object.values(counts).some((n) => n > 0)) return false;
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#workers.values()) await worker?.close();
  }
}

/** The child that a worker keeps for its next task. */
async function freeChild(worker: TaskWorker | null): Promise<void> {
  await (worker as unknown as { childPool?: { clean(): Promise<void> } } | null)?.childPool?.clean();
}

/** As TypeScript in a clone, as JavaScript in the package. */
function processorFile(): URL {
  const source = new URL("./processor.ts", import.meta.url);
  return existsSync(source) ? source : new URL("./processor.js", import.meta.url);
}
