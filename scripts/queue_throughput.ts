/**
 * What a second worker brings, and what the queue costs: the same job by one worker of one thread and by two, in turns; books in a second
 * from the first results on, and the processor's time of workers with and without their children, which read: where cores are not free, that tells
 * more than books a minute. A record of it goes to
 * bench/results. Needs valkey-server or redis-server.
 *
 *   npm run queue:throughput -- [--books 10] [--characters 6000] [--rounds 3] [--workers 1,2] [--model PATH] [--percent 10] [--record]
 *
 * With --percent each worker's child has so much of a core and no more (by cpulimit, of that package): as on machines of their own, where other work
 * has most of this one. Without --model it is the tests' tiny one, whose chunks are the shortest there are.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { writeRecord } from "../bench/record.ts";
import { getResult, resultsIn } from "../cli/queue/ledger.ts";
import { openStore } from "../cli/queue/open_store.ts";
import { templora } from "../test/support/cli.ts";
import { machine, made, makeJob, startWorker } from "../test/support/queue.ts";
import { QueueServer } from "../test/support/servers.ts";

const { values } = parseArgs({
  options: {
    books: { type: "string", default: "10" },
    characters: { type: "string", default: "6000" },
    rounds: { type: "string", default: "3" },
    workers: { type: "string", default: "1,2" },
    model: { type: "string" },
    percent: { type: "string" },
    record: { type: "boolean", default: false },
  },
});
const books = Number(values.books);
const numbers = values.workers.split(",").map(Number);
/** Of a model that is named: as in the demo. */
const named = values.model !== undefined && { models: [values.model], options: { chunk: 256, window: 256 } };

/** Seconds of the processor's time that a process has had (Linux: hundredths of a second). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" "); // prettier-ignore
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The processes that it has started. */
const children = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number); // prettier-ignore

const limited = (pid: number): ChildProcess =>
  spawn("cpulimit", ["-l", values.percent ?? "", "-p", String(pid)], { stdio: "ignore" });

interface Measured {
  readonly workers: number;
  readonly booksPerMinute: number;
  /** Of a worker, without its child's, for each chunk. */
  readonly queueCpuMsPerChunk: number;
  /** Of worker and child. */
  readonly cpuMsPerChunk: number;
  readonly chunkMs: number;
  readonly load: number;
}

async function measure(workers: number): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), "templora-throughput-"));
  process.env["TEMPLORA_CACHE"] = join(folder, "cache");
  const job = makeJob(folder, books, Number(values.characters), named || {});
  await using server = await QueueServer.start();
  const place = ["--queue", server.url, "--store", join(folder, "store")];
  await templora(["submit", job, ...place]);
  const store = await openStore(join(folder, "store"));
  const running = Array.from({ length: workers }, () => startWorker([...place, ...machine]));
  const reached = async (count: number): Promise<{ ms: number; cpu: number; all: number }> => {
    while ((await resultsIn(store)).length < count) await setTimeout(20);
    const cpu = running.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
    const read = running.flatMap(({ pid }) => children(pid)).reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    return { ms: performance.now(), cpu, all: cpu + read };
  };
  let begun = workers;
  let limits: ChildProcess[] = [];
  if (values.percent !== undefined) {
    await reached(begun);
    limits = running.flatMap(({ pid }) => children(pid)).map(limited);
    begun += workers;
  }
  const first = await reached(begun);
  const last = await reached(books);
  for (const limit of limits) limit.kill("SIGINT"); // it lets go on what it has stopped
  for (const worker of running) worker.kill("SIGTERM");
  await Promise.all(running.map(({ ended }) => ended));
  const texts = await Promise.all((await resultsIn(store)).map((key) => getResult(store, key)));
  const chunks = texts.flatMap((text) =>
    made(text ?? "").lines.filter(({ type }) => type === "chunk"),
  ).length;
  const read = books - begun;
  const seconds = (last.ms - first.ms) / 1000;
  rmSync(folder, { recursive: true, force: true });
  const part = (chunks * read) / books;
  return {
    ...{ workers, booksPerMinute: (60 * read) / seconds, load: loadavg()[0] ?? 0 },
    queueCpuMsPerChunk: (1000 * (last.cpu - first.cpu)) / part,
    cpuMsPerChunk: (1000 * (last.all - first.all)) / part,
    chunkMs: (1000 * seconds * workers) / part,
  };
}

const all: Measured[] = [];
for (let round = 0; round < Number(values.rounds); round++)
  for (const workers of numbers) {
    const measured = await measure(workers);
    all.push(measured);
    console.log(measured);
  }
const median = (workers: number, of: (one: Measured) => number): number => {
  const sorted = all.filter((one) => one.workers === workers).map(of).sort((a, b) => a - b); // prettier-ignore
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
};
const rate = (workers: number): number => median(workers, ({ booksPerMinute }) => booksPerMinute);
const timings = numbers.map((workers) => ({
  ...{
    name: `${workers} workers`,
    workers,
    booksPerMinute: rate(workers),
    ratio: rate(workers) / rate(numbers[0] ?? 1),
  },
  queueCpuMsPerChunk: median(workers, ({ queueCpuMsPerChunk }) => queueCpuMsPerChunk),
  cpuMsPerChunk: median(workers, ({ cpuMsPerChunk }) => cpuMsPerChunk),
  chunkMs: median(workers, ({ chunkMs }) => chunkMs),
  load: median(workers, ({ load }) => load),
}));
console.log(timings);
if (values.record)
  console.log(
    await writeRecord(
      named ? "queue_model" : "queue",
      {
        books,
        percent: Number(values.percent ?? 100),
        model: values.model?.replace(/^.*\//, "") ?? "tiny",
        rounds: all,
      },
      timings,
    ),
  );
process.exit(0);
