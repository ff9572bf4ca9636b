/** Connecting to a queue's server: Valkey or Redis, and PostgreSQL. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue as TaskQueue, Worker } from "bullmq";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeStore } from "../cli/queue/open_store.ts";
import { Queues } from "../cli/queue/queues.ts";
import { type Outcome, templora } from "./support/cli.ts";
import { makeJob } from "./support/queue.ts";
import { postgres, redis } from "./support/queue_servers.ts";
import { QueueServer, onEachServer } from "./support/servers.ts";
import { unless } from "./support/skip.ts";

const folder = mkdtempSync(join(tmpdir(), "templora-queue-"));
const suiteOf = suite("queue_server");
const test = unless(redis.missing, suiteOf);
const testPostgres = unless(postgres.missing, suiteOf);
const testEach = onEachServer(suiteOf);
suiteOf.after(() => rmSync(folder, { recursive: true, force: true }));

testEach(
  "whoever comes first makes what the server lacks, be they many at once; a queue is known once",
  async (program) => {
    await using server = await QueueServer.start(program);
    const { url } = server;
    const facts = [1, 4, 2].map((gib) => ({ name: `q${gib}`, gib, model: { name: "any", identity: "0" } }));
    const opened = await Promise.all(Array.from({ length: 6 }, () => Queues.open(url)));
    for (const queues of opened) for (const one of facts) await queues.register(one);
    for (const queues of opened) {
      assert.equal(
        (await queues.known()).map(({ gib }) => gib),
        [4, 2, 1],
      );
      await queues.server.cancel("a");
      assert.ok(await queues.server.isCancelled("a"));
    }
    for (const queues of opened) {
      await queues.server.uncancel("a");
      assert.not(await queues.server.isCancelled("a"));
      await queues[Symbol.asyncDispose]();
    }
  },
);

test("a task that is taken while jobs lists them is listed", async () => {
  await using server = await QueueServer.start();
  const queue = ["--queue", server.url];
  await templora(["submit", makeJob(folder, 1, 500), ...queue, "--store", join(folder, "store")]);
  await using queues = await Queues.open(server.url);
  const [facts] = await queues.known();
  const taker = new Worker(facts?.name ?? "", null, {
    connection: { url: server.url },
    autorun: false,
  });
  const getJobs = Reflect.get(TaskQueue.prototype, "getJobs");
  let asked = 0;
  TaskQueue.prototype.getJobs = async function (...states) {
    if (++asked === 2) await taker.getNextJob("token", { block: false });
    return getJobs.apply(this, states);
  };
  const { stdout } = await templora(["jobs", ...queue]).finally(
    () => (TaskQueue.prototype.getJobs = getJobs),
  );
  await taker.close();
  assert.match(stdout, /^1 active\n/);
});

testEach("what is asked while the server is away is answered when it is there again", async (program) => {
  await using server = await QueueServer.start(program);
  await using queues = await Queues.open(server.url);
  const facts = { name: "q", gib: 1, model: { name: "any", identity: "0" } };
  await queues.server.register(facts);
  let asked: Promise<unknown> | undefined;
  await server.restart(() => {
    asked = queues.known().catch((error: unknown) => error);
    queues
      .of(facts)
      .getJobCounts()
      .catch(() => undefined);
  });
  assert.equal(await asked, [facts]);
  assert.is((await queues.of(facts).getJobCounts("wait"))["wait"], 0);
});

test("Redis: a database that it does not have is refused, and not another one used", async () => {
  await using server = await QueueServer.start();
  const { code, stderr } = await templora(["jobs", "--queue", `${server.url}/99`]);
  assert.is(code, 1);
  assert.match(stderr, /^templora: --queue redis:\/\/127\.0\.0\.1:\d+: [^\n]*DB index is out of range\n$/);
  assert.is((await templora(["jobs", "--queue", `${server.url}/3`])).stdout, "no tasks\n");
});

test("Redis: a worker says once that the server is away and once that it answers again; idle, it gives nothing back", async () => {
  await using server = await QueueServer.start();
  const place = ["--queue", server.url, "--store", join(folder, "store-away")];
  await templora(["submit", makeJob(join(folder, "away"), 1, 500), ...place]);
  await templora(["jobs", ...place, "--cancel", "all"]);
  let restarted: Promise<void> | undefined;
  const { code, stderr } = await templora(["worker", ...place], {
    onError: (text, stop) => {
      if (text.includes("waiting for tasks")) restarted = server.restart(() => sleep(1000));
      if (text.includes("answers again")) stop();
    },
  });
  await restarted;
  assert.is(code, 130);
  assert.match(
    stderr,
    /^templora: waiting for tasks\ntemplora: the queue: [^\n]*; trying again\ntemplora: the queue: it answers again\ntemplora: stopped\n$/,
  );
});

testPostgres("PostgreSQL: what it refuses is told in a line without the password", async () => {
  await using server = await QueueServer.start(postgres);
  const { url } = server;
  const refused = async (queue: string): Promise<string> => {
    const { code, stderr } = await templora(["jobs", "--queue", queue]);
    assert.is.not(code, 0);
    assert.match(stderr, /^templora: --queue [^\n]*\n$/);
    assert.is(/secret|p%40ss|p@ss/.exec(stderr), null, stderr);
    return stderr;
  };
  assert.match(
    await refused(url.replace("p%40ss", "secret")),
    /: password authentication failed for user "templora"$/m,
  );
  assert.match(await refused(`${url}ql`), /: database "postgresql" does not exist$/m);
  assert.match(
    await refused("postgresql://any:secret@127.0.0.1:1/any"),
    /127\.0\.0\.1:1: no server answers there \(ECONNREFUSED\)$/m,
  );
  assert.match(
    await refused("mysql://any:secret@127.0.0.1/any"),
    /mysql:\/\/…@127\.0\.0\.1\/any: expected .* postgres:\/\/USER:PASSWORD@HOST/,
  );
});

testPostgres(
  "PostgreSQL: a worker whose clock is wrong by much of the lock's time does not begin",
  async () => {
    await using server = await QueueServer.start(postgres);
    const { url } = server;
    await makeStore(join(folder, "store"));
    const { now } = Date;
    const work = async (ms: number): Promise<Outcome> => {
      Date.now = () => now() + ms;
      return templora(["worker", "--queue", url, "--store", join(folder, "store"), "--until-empty"]).finally(
        () => (Date.now = now),
      );
    };
    for (const ms of [20_000, -20_000])
      assert.match(
        (await work(ms)).stderr,
        /--lock 30: this machine's clock is (19|20)\.\d s from that of the queue's server/,
      );
    assert.is((await work(5000)).code, 0);
  },
);

suiteOf.run();
