/** A share of a job's tasks, for arrays of jobs (Slurm, Kubernetes): no queue is needed where each has its own number. */
import { BadInputError } from "../../engine/errors.ts";
import { counted } from "../format.ts";
import type { Io, Terminal } from "../output.ts";
import { throwIfStopped } from "../session.ts";
import { readJobFile } from "./job_file.ts";
import { putText } from "./ledger.ts";
import { type Setting, runTask } from "./run_task.ts";
import type { Store } from "./store.ts";
import { tasksOf } from "./tasks.ts";

export interface Shard {
  readonly index: number;
  readonly of: number;
}

/** A parser for commander: 0/8. */
export function shard(text: string): Shard {
  const [, index, of] = /^(\d{1,9})\/(\d{1,9})$/.exec(text) ?? [];
  if (index === undefined || Number(index) >= Number(of))
    throw new BadInputError(`--shard ${text}: expected i/n with i from 0 to n-1, such as 0/8`);
  return { index: Number(index), of: Number(of) };
}

/** Reads every `of`-th task, from `index` on, one after the other; those that are done are passed over. */
export async function readShard(
  path: string,
  { index, of }: Shard,
  store: Store,
  setting: Setting,
  terminal: Terminal,
  io: Io,
): Promise<void> {
  const failed: string[] = [];
  const counts = { read: 0, done: 0 };
  let n = 0;
  for await (const { task, bytes } of tasksOf(await readJobFile(path, io), terminal, io)) {
    throwIfStopped(io);
    if (n++ % of !== index) continue;
    const { name } = task.text;
    try {
      await putText(store, bytes);
      const ending = await runTask(task, store, setting, io.signal, ({ tokens }) =>
        terminal.progress({ label: name, fraction: 0, figures: `${tokens} tokens` }),
      );
      terminal.endProgress();
      throwIfStopped(io);
      if (ending.ended === "done") counts[ending.made ? "read" : "done"]++;
      terminal.note(`${name}: ${ending.ended === "stale" ? "taken over by another worker" : "done"}`);
    } catch (error) {
      throwIfStopped(io);
      terminal.note(`${name}: failed: ${(error as Error).message}`);
      failed.push(name);
    }
  }
  terminal.result(`shard ${index} of ${of}: ${counted(counts.read, "task")} read, ${counts.done} done already, ${failed.length} failed\n`); // prettier-ignore
  if (failed.length > 0)
    throw new Error(`${counted(failed.length, "task")} failed: ${failed.slice(0, 5).join(", ")}`);
}
