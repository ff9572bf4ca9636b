/** Workers on real servers of queues (Valkey or Redis, PostgreSQL), with a shared folder, and in the last test with a real S3 server. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Queue as TaskQueue } from "bullmq";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isAlive } from "../cli/parts.ts";
import { getResult, resultsIn } from "../cli/queue/ledger.ts";
import { makeStore, openStore } from "../cli/queue/open_store.ts";
import { type JsonLine, type Outcome, jsonLines, templora } from "./support/cli.ts";
import {
  type Made,
  type WorkerProcess,
  lone,
  machine,
  made,
  makeJob,
  startWorker as start,
} from "./support/queue.ts";
import { chaos } from "./support/queue_chaos.ts";
import { type ServerProgram, redis } from "./support/queue_servers.ts";
import { QueueServer, noS3Server, onEachServer } from "./support/servers.ts";
import { unless } from "./support/skip.ts";

const folder = mkdtempSync(join(tmpdir(), "templora-queue-"));
process.env["TEMPLORA_CACHE"] = join(folder, "cache");
const suiteOf = suite("queue");
const test = unless(redis.missing, suiteOf);
const testEach = onEachServer(suiteOf);
let servers: QueueServer[] = [];
let workers: WorkerProcess[] = [];
suiteOf.after.each(async () => {
  for (const worker of workers) worker.kill("SIGKILL", true); // those of a test that failed
  workers = [];
  for (const server of servers) await server[Symbol.asyncDispose]();
  servers = [];
});
suiteOf.after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

async function started(program: ServerProgram): Promise<QueueServer> {
  const server = await QueueServer.start(program);
  servers.push(server);
  return server;
}

function startWorker(argv: readonly string[]): WorkerProcess {
  const worker = start(argv);
  workers.push(worker);
  return worker;
}

/** A queue of its own for a test, with a job in a folder of that name. */
async function queueFor(test: string, books: number, characters: number, program = redis): Promise<Queue> {
  const name = `${test}-${program.name}`;
  const server = await started(program);
  const job = makeJob(at(name), books, characters);
  const [queue, store] = [
    ["--queue", server.url],
    ["--store", at(`${name}/store`)],
  ];
  return {
    ...{ server, job, place: [...queue, ...store], folder: at(name) },
    submit: () => templora(["submit", job, ...queue, ...store]),
    jobs: (...argv) => templora(["jobs", ...queue, ...store, ...argv]),
    listed: async () => jsonLines((await templora(["jobs", ...queue, "--json", "-"])).stdout),
    results: async () => {
      const open = await openStore(at(`${name}/store`));
      const all = await Promise.all((await resultsIn(open)).map((key) => getResult(open, key)));
      return all.map((text) => made(text ?? "")).sort((a, b) => (a.name < b.name ? -1 : 1)); // prettier-ignore
    },
  };
}

interface Queue {
  readonly server: QueueServer;
  readonly job: string;
  readonly place: readonly string[];
  readonly folder: string;
  submit(): Promise<Outcome>;
  jobs(...argv: readonly string[]): Promise<Outcome>;
  listed(): Promise<JsonLine[]>;
  results(): Promise<Made[]>;
}

async function until(there: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !(await there()); await setTimeout(50))
    if (Date.now() > end) throw new Error(`not within a minute: ${what}`);
}

const orphanWorker = fileURLToPath(new URL("support/orphan_worker.ts", import.meta.url));

testEach(
  "a job is put there once, read by a worker, and its results are those of lone runs",
  async (program) => {
    const queue = await queueFor("plain", 3, 500, program);
    assert.is((await queue.submit()).stdout, "3 tasks submitted\n");
    assert.is((await queue.submit()).stdout, "0 tasks submitted, 3 in the queue already\n");
    assert.match((await queue.jobs()).stdout, /^3 waiting\n\ntask .*\n\w{12} +waiting +books\/book000\.txt /);
    const worked = await templora(["worker", ...queue.place, ...machine, "--until-empty"]);
    assert.is(worked.code, 0, worked.stderr);
    const results = await queue.results();
    assert.is(results.length, 3);
    for (const [i, { lines }] of results.entries()) assert.equal(lines, await lone(queue.folder, i));
    assert.is((await queue.submit()).stdout, "0 tasks submitted, 3 done already\n");
    assert.is((await queue.jobs()).stdout, "3 done\n");
  },
);

testEach(
  "SIGTERM: the task goes back with its checkpoint, and the next worker goes on from there",
  async (program) => {
    const queue = await queueFor("drain", 1, 3000, program);
    await queue.submit();
    const argv = [...queue.place, ...machine, "--checkpoint-every", "0"];
    const worker = startWorker(argv);
    await until(async () => Number(((await queue.listed())[0]?.["progress"] as { chunks?: number } | null)?.chunks) >= 3, "3 chunks"); // prettier-ignore
    worker.kill("SIGTERM");
    assert.is(await worker.ended, 143, worker.said);
    assert.match(worker.said, /stopped; its task is back in the queue/);
    assert.equal(
      (await queue.listed()).map(({ state }) => state),
      ["waiting"],
    );
    assert.is((await templora(["worker", ...argv, "--until-empty"])).code, 0);
    const [result] = await queue.results();
    assert.equal([result?.task["resumed_from"], result?.task["token"]], [1, 2]);
    assert.equal(result?.lines, await lone(queue.folder, 0));
  },
);

testEach(
  "however long its child is blocked, a worker keeps the lock: no other takes the task",
  async (program) => {
    const queue = await queueFor("blocked", 1, 1500, program);
    await queue.submit();
    const argv = [...queue.place, ...machine, "--lock", "1"];
    const [first, second] = [startWorker(argv), startWorker(argv)];
    const childOf = ({ pid }: { pid: number }): number =>
      Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")[0]);
    await until(async () => (await queue.listed())[0]?.["progress"] instanceof Object, "a chunk");
    const child = childOf(first) || childOf(second);
    process.kill(child, "SIGSTOP");
    await setTimeout(4000);
    process.kill(child, "SIGCONT");
    await until(async () => (await queue.results()).length === 1, "a result");
    for (const worker of [first, second]) worker.kill("SIGTERM");
    await Promise.all([first.ended, second.ended]);
    assert.is((first.said + second.said).split(": begun").length - 1, 1, first.said + second.said);
    assert.is((await queue.results())[0]?.task["token"], 1);
  },
  existsSync("/proc/self/task") ? undefined : "no /proc",
);

testEach("a worker that is killed is missed: another goes on from its last checkpoint", async (program) => {
  const queue = await queueFor("killed", 1, 1500, program);
  await queue.submit();
  const argv = [...queue.place, ...machine, "--checkpoint-every", "0", "--lock", "1"];
  const worker = startWorker(argv);
  const chunks = async (): Promise<unknown> =>
    ((await queue.listed())[0]?.["progress"] as { chunks?: number } | null)?.chunks;
  await until(async () => Number(await chunks()) >= 2, "2 chunks");
  worker.kill("SIGKILL", true);
  await worker.ended;
  assert.is((await queue.listed())[0]?.["state"], "active");
  const next = startWorker([...argv, "--until-empty"]);
  await until(async () => (await queue.results()).length === 1, "a result");
  assert.is(await next.ended, 0, next.said);
  const [result] = await queue.results();
  assert.equal([result?.task["resumed_from"], result?.task["token"]], [1, 2]);
  assert.equal(result?.lines, await lone(queue.folder, 0));
});

test("a child ends with its worker, though a write to the worker's pipe fails before it learns of that", async () => {
  const server = await started(redis);
  const [queue, file] = [new TaskQueue("orphans", { connection: { url: server.url } }), at("orphan")];
  await queue.add("task", { file });
  await queue.close();
  const worker = spawn(process.execPath, ["--import", "tsx", orphanWorker, server.url], { stdio: "pipe" });
  await once(worker, "exit");
  const child = Number(readFileSync(file, "utf8"));
  await until(() => !isAlive(child), "the child's end");
});

test("a worker takes only what its machine can hold, and says what it does not take", async () => {
  const queue = await queueFor("small", 1, 500);
  await queue.submit();
  const small = await templora(["worker", ...queue.place, ...machine, "--memory", "0.5", "--until-empty"]);
  assert.match(
    small.stderr,
    /not for this machine: templora-1gib-[\w-]+, its tasks take up to 1 GiB \(--memory\)\n.*: 1 task left in queues that are not for this worker\n/,
  );
  const other = at("small-other-store");
  await makeStore(other);
  const place = [...queue.place.slice(0, 2), "--store", other];
  const elsewhere = await templora(["worker", ...place, ...machine, "--until-empty"]);
  assert.match(elsewhere.stderr, /not for this worker: tasks of another store\n.*: 1 task left/);
  assert.match((await queue.jobs()).stdout, /^1 waiting\n/);
  const again = await templora(["submit", queue.job, ...place]); // another task there
  assert.is(again.stdout, "1 task submitted\n");
});

testEach(
  "a task that cannot be read fails at once, with its reason; it can be tried again, and cancelled",
  async (program) => {
    const queue = await queueFor("failing", 1, 500, program);
    writeFileSync(join(queue.folder, "books/book000.txt"), "a");
    await queue.submit();
    const work = (): Promise<Outcome> => templora(["worker", ...queue.place, ...machine, "--until-empty"]);
    const reason = / 1 token\(s\); a perplexity needs at least two\n/;
    assert.match((await work()).stderr, new RegExp(`: books/book000\\.txt: failed:${reason.source}`));
    const { stdout } = await queue.jobs();
    assert.match(stdout, /^1 failed\n/);
    assert.match(stdout, reason);
    assert.match((await queue.submit()).stdout, /1 failed before \(templora jobs --retry failed\)/);
    assert.is((await queue.jobs("--retry", "failed")).stdout, "1 task is in the queue again\n");
    assert.is((await queue.jobs("--cancel", "all")).stdout, "1 task taken out of the queue\n");
    assert.is((await queue.jobs()).stdout, "no tasks\n");
    assert.match((await queue.jobs("--cancel", "0000")).stderr, /^templora: --cancel 0000: no such task\n$/);
  },
);

testEach(
  "a task in progress can be cancelled; its worker goes on with others, and tells Prometheus",
  async (program) => {
    const queue = await queueFor("cancel", 1, 6000, program);
    await queue.submit();
    const worker = startWorker([...queue.place, ...machine, "--metrics", "0"]);
    const figures = async (): Promise<string> => {
      const [address = ""] = /http:\S+/.exec(worker.said) ?? [];
      return (await fetch(address)).text();
    };
    await until(() => worker.said.includes(": begun"), "begun");
    await until(async () => /templora_tokens_total [1-9]/.test(await figures()), "tokens counted");
    assert.match((await queue.jobs("--cancel", "all")).stdout, /1 will stop where it runs/);
    await until(async () => (await queue.listed())[0]?.["state"] === "failed", "cancelled");
    assert.is((await queue.listed())[0]?.["reason"], "cancelled");
    assert.match(await figures(), /templora_tasks_total\{ending="failed"\} 1/);
    assert.match(await figures(), /templora_working 0/);
    worker.kill("SIGTERM");
    assert.is(await worker.ended, 143);
    assert.equal(await queue.results(), []);
  },
);

testEach("the page shows the queue until it is stopped", async (program) => {
  const queue = await queueFor("page", 2, 500, program);
  await queue.submit();
  let asked: Promise<string[]> | undefined;
  const served = await templora(["jobs", ...queue.place, "--serve", "0"], {
    onOutput: (text, stop) => {
      const [address] = /http:\S+/.exec(text) ?? [];
      if (address === undefined) return;
      const get = async (path: string): Promise<string> => (await fetch(address + path)).text();
      asked = Promise.all(["", "api/queues", "metrics"].map(get)).finally(stop);
    },
  });
  assert.is(served.code, 0, served.stderr);
  const [page = "", queues = "", metrics = ""] = (await asked) ?? [];
  assert.match(page, /<html/);
  assert.match(queues, /"waiting":2/);
  assert.match(metrics, /bullmq_job_count\{queue="templora-1gib-[\w-]+", state="waiting"\} 2/);
});

unless(redis.missing ?? noS3Server, suiteOf)(
  "workers are killed, the store fails calls, the queue's server restarts: every result once, with a lone run's bits",
  async () => {
    const sizes = {
      books: 8,
      characters: 700,
      workers: 3,
      killEveryMs: 2000,
      failing: 0.05,
      limitMs: 300_000,
    };
    const outcome = await chaos(sizes);
    console.log(outcome);
    assert.equal([outcome.results, outcome.wrong], [sizes.books, 0]);
    assert.ok(outcome.killed > 0 && outcome.failedCalls > 0);
  },
);

suiteOf.run();
