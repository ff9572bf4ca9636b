/** How long a worker takes until its first task, what each task costs beside its reading, and when a dead worker's task goes on elsewhere. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { getResult, resultsIn } from "../../../cli/queue/ledger.ts";
import { openStore } from "../../../cli/queue/open_store.ts";
import { jsonLines, templora } from "../../../test/support/cli.ts";
import { bookName, makeJob, startWorker } from "../../../test/support/queue.ts";
import { QueueServer } from "../../../test/support/servers.ts";
import { median } from "../../harness.ts";

export interface StartCost {
  /** From the process to its first task. */
  readonly workerSeconds: number;
  /** A task's own, beside its reading: the first of a process, and the others. */
  readonly firstTaskSeconds: number;
  readonly taskSeconds: number;
}

const BOOKS = 4;

/** By tasks of some hundred tokens each, in seconds of a clock: others' work on the machine is in them. */
export async function startCost(model: string, text: string): Promise<StartCost> {
  const folder = mkdtempSync(join(tmpdir(), "templora-start-"));
  try {
    mkdirSync(join(folder, "books"));
    for (let i = 0; i < BOOKS; i++)
      writeFileSync(join(folder, "books", `book${i}.txt`), text.slice(700 * i, 700 * i + 2000));
    const job = join(folder, "job.json");
    writeFileSync(job, JSON.stringify({ texts: ["books"], models: [model] }));
    await using server = await QueueServer.start();
    const place = ["--queue", server.url, "--store", join(folder, "store")];
    await templora(["submit", job, ...place]);
    const began = performance.now();
    const worker = startWorker([...place, "--device", "cpu", "--until-empty"]);
    const said = async (what: string, n: number): Promise<number> => {
      while (worker.said.split(what).length <= n) await setTimeout(5);
      return (performance.now() - began) / 1000;
    };
    const spans: (readonly [begun: number, done: number])[] = [];
    for (let i = 1; i <= BOOKS; i++) spans.push([await said(": begun", i), await said(": done", i)]);
    await worker.ended;
    const store = await openStore(join(folder, "store"));
    const read = await Promise.all((await resultsIn(store)).map(async (key) => readingSeconds((await getResult(store, key)) ?? ""))); // prettier-ignore
    const reading = median(read); // the texts are of one length
    const [[workerSeconds, done] = [NaN, NaN], ...others] = spans;
    return {
      ...{ workerSeconds, firstTaskSeconds: done - workerSeconds - reading },
      taskSeconds: median(others.map(([from, to]) => to - from)) - reading,
    };
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
