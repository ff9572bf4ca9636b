/** BullMQ's worker for one queue: its child process reads the texts, and it takes nothing by itself. */
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import type { Job, Worker, WorkerOptions } from "bullmq";
import { SETTING } from "./processor_setting.ts";
import { type QueueFacts, inQueue } from "./queue_server.ts";
import type { Queues } from "./queues.ts";
import type { Ending, Setting } from "./run_task.ts";
import type { OpenStore } from "./store.ts";
import type { Task } from "./tasks.ts";

export interface WorkerSetting extends Setting {
  readonly store: Pick<OpenStore, "name" | "id">;
  /** Bytes that a task may take. */
  readonly memory: number;
  /** A worker that was not heard of for so long is taken to be dead. */
  readonly lockMs: number;
  /** End when there is nothing left to do. */
  readonly untilEmpty: boolean;
}

export type TaskWorker = Worker<Task, Ending, "task">;
export type TaskJob = Job<Task, Ending, "task">;

/** Times that a task may lose its worker to a kill before it counts as what kills them. */
const MOST_LOST = 50;
/** Until a task that another worker has taken over is looked at again. */
const STALE_MS = 5000;

const stopped: Ending = { ended: "stopped" };

/** `hear` hangs its listeners on it; `onBack`: a task goes back to the queue. */
export async function openTaskWorker(
  queues: Queues,
  { name }: QueueFacts,
  { lockMs, store, device, threads, checkpointMs }: WorkerSetting,
  stop: AbortSignal,
  hear: (worker: TaskWorker) => void,
  onBack: () => void,
): Promise<TaskWorker> {
  const setting = JSON.stringify({ store: store.name, id: store.id, device, threads, checkpointMs });
  const { connection, backend } = queues.server;
  const options: WorkerOptions = {
    ...{ connection, autorun: false, maxStalledCount: MOST_LOST },
    ...{ lockDuration: lockMs, stalledInterval: lockMs },
    workerForkOptions: { env: { ...process.env, [SETTING]: setting } },
  };
  const worker = new (workerClass(queues, stop, onBack))(name, processorFile(), options, backend);
  hear(worker);
  await worker.waitUntilReady().catch(async (error: unknown) => {
    await worker.close();
    throw error;
  });
  await worker.startStalledCheckTimer();
  return worker;
}

function workerClass(
  { bullmq, server }: Queues,
  stop: AbortSignal,
  onBack: () => void,
): typeof Worker<Task, Ending, "task"> {
  const { Worker, WaitingError, UnrecoverableError } = bullmq;
  return class extends Worker<Task, Ending, "task"> {
    protected override async callProcessJob(
      job: TaskJob,
      token: string,
      signal?: AbortSignal,
    ): Promise<Ending> {
      this.lockManager.start();
      const began = !stop.aborted; // it may have come while the task was fetched
      const ending = began ? await super.callProcessJob(job, token, signal) : stopped;
      if (ending.ended === "done") return ending;
      if (await server.isCancelled(inQueue(this, job.data.key))) throw new UnrecoverableError("cancelled");
      // waited for here: the queue's own delays are told by the clocks of machines, which may differ by any amount
      if (ending.ended === "stale")
        await setTimeout(STALE_MS, undefined, { signal: stop }).catch(() => undefined);
      await job.moveToWait(token);
      onBack();
      throw new WaitingError();
    }
  };
}

/** The child that a worker keeps for its next task. */
export async function freeChild(worker: TaskWorker | null): Promise<void> {
  await (worker as unknown as { childPool?: { clean(): Promise<void> } } | null)?.childPool?.clean();
}

/** As TypeScript in a clone, as JavaScript in the package. */
function processorFile(): URL {
  const source = new URL("./processor.ts", import.meta.url);
  return existsSync(source) ? source : new URL("./processor.js", import.meta.url);
}
