/** What a worker's child process does with a task (BullMQ's sandboxed processor): the worker keeps its lock alive meanwhile. */
import "./end_with_worker.ts";
import { hostname } from "node:os";
import type { SandboxedJob } from "bullmq";
import { SETTING } from "./processor_setting.ts";
import type { Ending, Setting } from "./run_task.ts";
import type { Task } from "./tasks.ts";

export default async function work(
  job: SandboxedJob<Task, Ending>,
  _token: string,
  signal: AbortSignal,
): Promise<Ending> {
  const [{ TaskError, runTask }, { reopenStore }] = await Promise.all([
    import("./run_task.ts"),
    import("./open_store.ts"),
  ]);
  const { store, id, ...setting } = JSON.parse(process.env[SETTING] ?? "{}") as Setting & {
    readonly store: string;
    readonly id: string;
  };
  const opened = await reopenStore(store, id);
  try {
    return await runTask(job.data, opened, setting, signal, (progress) => {
      void job
        .updateProgress({ ...progress, worker: `${hostname()}:${process.ppid}` })
        .catch(() => undefined);
    });
  } catch (error) {
    if (!(error instanceof TaskError)) throw error;
    throw Object.assign(new Error(error.message), { name: "UnrecoverableError" }); // BullMQ's word
  }
}
