/** What a worker's child process does with a task (BullMQ's sandboxed processor): the worker keeps its lock alive meanwhile. */
import { hostname } from "node:os";
import type { SandboxedJob } from "bullmq";
import { SETTING } from "./processor_setting.ts";
import { type Ending, type Setting, TaskError, runTask } from "./run_task.ts";
import { openStore } from "./open_store.ts";
import type { Task } from "./tasks.ts";

// The worker is gone, and with it the lock; it may have gone while this file was loaded. BullMQ's part of this process would never end then.
process.on("disconnect", () => process.exit(1));
if (!process.connected) process.exit(1);

export default async function work(
  job: SandboxedJob<Task, Ending>,
  _token: string,
  signal: AbortSignal,
): Promise<Ending> {
  const { store, ...setting } = JSON.parse(process.env[SETTING] ?? "{}") as Setting & {
    readonly store: string;
  };
  try {
    return await runTask(job.data, await openStore(store), setting, signal, (progress) => {
      void job
        .updateProgress({ ...progress, worker: `${hostname()}:${process.ppid}` })
        .catch(() => undefined);
    });
  } catch (error) {
    if (!(error instanceof TaskError)) throw error;
    throw Object.assign(new Error(error.message), { name: "UnrecoverableError" }); // BullMQ's word
  }
}
