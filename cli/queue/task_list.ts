/** The tasks of a server's queues, as `templora jobs` shows and names them. */
import { BadInputError } from "../../engine/errors.ts";
import { count, table } from "../format.ts";
import { inQueue } from "./queue_server.ts";
import type { Queues, TaskProgress, TaskQueue } from "./queues.ts";
import { differing, shortKey } from "./results.ts";
import type { Task } from "./tasks.ts";

export interface Listed {
  readonly queue: TaskQueue;
  readonly state: string;
  readonly task: Task;
  readonly progress: TaskProgress | null;
  /** Why its last try failed. */
  readonly reason: string;
  readonly seconds: number;
}

/** In the order in which a task passes them: one that moves on while they are read is read twice, and not missed. */
const states = ["wait", "active", "delayed", "failed", "completed"] as const;
const words: Readonly<Record<string, string>> = { wait: "waiting", completed: "done" };
/** Of those that wait. */
const SHOWN = 20;

export async function listTasks(queues: Queues): Promise<Listed[]> {
  const listed = new Map<string, Listed>();
  for (const facts of await queues.known()) {
    const queue = queues.of(facts);
    for (const state of states)
      for (const job of await queue.getJobs([state], 0, -1, true))
        listed.set(inQueue(facts, job.data.key), {
          ...{ queue, state: words[state] ?? state, task: job.data, reason: job.failedReason ?? "" },
          progress: typeof job.progress === "object" ? (job.progress as TaskProgress) : null,
          seconds: secondsBetween(job.processedOn, job.finishedOn),
        });
  }
  return [...listed.values()];
}

/** Of times that two machines' clocks may have told. */
function secondsBetween(began?: number, ended?: number): number {
  return began === undefined ? 0 : Math.max(0, ((ended ?? Date.now()) - began) / 1000);
}

/** Counts, and a table of all that are not done. */
export function tasksTable(listed: readonly Listed[]): string {
  if (listed.length === 0) return "no tasks\n";
  const counts = new Map<string, number>();
  for (const { state } of listed) counts.set(state, (counts.get(state) ?? 0) + 1);
  const head = `${[...counts].map(([state, n]) => `${count(n)} ${state}`).join(", ")}\n`;
  const waiting = listed.filter(({ state }) => state === "waiting");
  const others = listed.filter(({ state }) => state !== "waiting" && state !== "done");
  const shown = [...others, ...waiting.slice(0, SHOWN)];
  if (shown.length === 0) return head;
  const told = differing(listed.map(({ task }) => task.flags));
  const rows = shown.map((one) => [
    ...[shortKey(one.task.key), one.state, one.task.text.name, one.task.model.name],
    ...told.map((name) => String(one.task.flags[name] ?? "")),
    one.progress ? `${count(one.progress.chunks)} chunks, ${count(one.progress.tokens)} tokens` : "",
    remark(one),
  ]);
  const more = waiting.length - SHOWN;
  return (
    `${head}\n${table([["task", "state", "text", "model", ...told, "read", ""], ...rows])}` +
    (more > 0 ? `and ${count(more)} more waiting: --json - has them all\n` : "")
  );
}

function remark({ state, progress, reason, seconds }: Listed): string {
  const where = progress ? ` on ${progress.worker}` : "";
  const now = state === "active" ? [`${Math.round(seconds)} s${where}`] : [];
  const why = reason === "" ? [] : [state === "failed" ? reason : `failed before: ${reason}`];
  return [...now, ...why].join("; ");
}

/** Those of some states that are named by the first characters of a key, or by a word for all of them. */
export function named(
  listed: readonly Listed[],
  flag: string,
  key: string,
  word: string,
  of: readonly string[],
): readonly Listed[] {
  const fitting = (some: readonly Listed[]): Listed[] => some.filter(({ state }) => of.includes(state));
  if (key === "")
    throw new BadInputError(`${flag}: expected a task's key or ${word}, got an empty one; is a variable not set?`); // prettier-ignore
  if (key === word) return fitting(listed);
  const found = listed.filter(({ task }) => task.key.startsWith(key));
  const keys = new Set(found.map(({ task }) => task.key)).size;
  const [first] = found;
  if (!first || keys > 1)
    throw new BadInputError(`${flag} ${key}: ${first ? `${keys} tasks have such a key` : "no such task"}`);
  const fit = fitting(found);
  if (fit.length === 0) throw new BadInputError(`${flag} ${key}: ${first.task.text.name} is ${first.state}`);
  return fit;
}
