/** What a worker costs until its first task, what each task costs beside its reading, and when a dead worker's task goes on elsewhere. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { jsonLines, templora } from "../../../test/support/cli.ts";
import { cpuSeconds, readersOf } from "../processes.ts";
import { bookName, makeJob, startWorker } from "../../../test/support/queue.ts";
import { QueueServer } from "../../../test/support/servers.ts";
import { median } from "../../harness.ts";

/** Processor time of one thread, which other work on the machine changes little: the same as seconds where it is the only one. */
export interface StartCost {
  /** From the process to its first task. */
  readonly workerSeconds: number;
  /** A task's own, beside its reading: the first of a process, and the others. */
  readonly firstTaskSeconds: number;
  readonly taskSeconds: number;
}

const BOOKS = 5;
/** A line: reading it is little beside opening the model. */
const CHARACTERS = 80;

export async function startCost(model: string, text: string): Promise<StartCost> {
  const folder = mkdtempSync(join(tmpdir(), "templora-start-"));
  try {
    mkdirSync(join(folder, "books"));
    for (let i = 0; i < BOOKS; i++)
      writeFileSync(join(folder, "books", `book${i}.txt`), text.slice(CHARACTERS * i, CHARACTERS * (i + 1)));
    const job = join(folder, "job.json");
    writeFileSync(job, JSON.stringify({ texts: ["books"], models: [model] }));
    await using server = await QueueServer.start();
    const place = ["--queue", server.url, "--store", join(folder, "store")];
    await templora(["submit", job, ...place]);
    const worker = startWorker([...place, "--device", "cpu", "--threads", "1"]);
    const spentAt = async (what: string, n: number): Promise<number> => {
      while (worker.said.split(what).length <= n) await setTimeout(5);
      return [worker.pid, ...readersOf(worker.pid)].reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    };
    const workerSeconds = await spentAt(": begun", 1);
    const done: number[] = [];
    for (let i = 1; i <= BOOKS; i++) done.push(await spentAt(": done", i));
    worker.kill("SIGTERM");
    await worker.ended;
    const tasks = done.map((spent, i) => spent - (done[i - 1] ?? workerSeconds));
    return { workerSeconds, firstTaskSeconds: tasks[0] ?? NaN, taskSeconds: median(tasks.slice(1)) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The chunks' own time, as a result says it. */
export function readingSeconds(result: string): number {
  const chunks = jsonLines(result).filter(({ type }) => type === "chunk");
  return chunks.reduce((sum, { seconds }) => sum + total(seconds as Readonly<Record<string, number>>), 0);
}

const total = (parts: Readonly<Record<string, number>>): number =>
  Object.values(parts).reduce((sum, x) => sum + x, 0);

/** Seconds from a worker's SIGKILL until another one goes on, as shares of the lock's time. */
export async function takeovers(times: number, lockSeconds: number): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "templora-takeover-"));
  try {
    const job = makeJob(folder, 1, 8000);
    const book = join(folder, "books", bookName(0));
    writeFileSync(book, readFileSync(book, "utf8").repeat(20)); // longer than any of the waits
    await using server = await QueueServer.start();
    const place = ["--queue", server.url, "--store", join(folder, "store")];
    await templora(["submit", job, ...place]);
    const argv = [...place, "--device", "cpu", "--threads", "1", "--lock", String(lockSeconds)];
    const begun = async (worker: ReturnType<typeof startWorker>, what: string): Promise<void> => {
      while (!worker.said.includes(what)) await setTimeout(5);
    };
    const found: number[] = [];
    let working = startWorker(argv);
    await begun(working, ": begun");
    for (let i = 0; i < times; i++) {
      const other = startWorker(argv);
      await begun(other, "waiting for tasks");
      await setTimeout(1000 * lockSeconds * (1 + i / times)); // at any moment between two checks
      const began = performance.now();
      working.kill("SIGKILL", true);
      await begun(other, ": begun");
      found.push((performance.now() - began) / 1000 / lockSeconds);
      working = other;
    }
    working.kill("SIGKILL", true);
    return found;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
