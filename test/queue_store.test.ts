/** What the queue's workers rely on: a job's tasks and their keys, and the store's rules. No server of a queue is needed; S3 has a test's own. */
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FolderStore } from "../cli/queue/folder_store.ts";
import { readJobFile } from "../cli/queue/job_file.ts";
import { Claim, getResult, putText, resultsIn } from "../cli/queue/ledger.ts";
import { openStore } from "../cli/queue/open_store.ts";
import { runTask } from "../cli/queue/run_task.ts";
import type { Store } from "../cli/queue/store.ts";
import { type Task, tasksOf } from "../cli/queue/tasks.ts";
import { openTerminal } from "../cli/session.ts";
import { templora } from "./support/cli.ts";
import { lone, machine, made, makeJob, startWorker, tiny } from "./support/queue.ts";
import { S3Server, awsAt, noS3Server } from "./support/servers.ts";
import { unless } from "./support/skip.ts";

const folder = mkdtempSync(join(tmpdir(), "templora-queue-"));
process.env["TEMPLORA_CACHE"] = join(folder, "cache");
const test = suite("queue_store");
const s3 = noS3Server === undefined ? await S3Server.start() : null;
test.after(async () => {
  await s3?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});
if (s3) Object.assign(process.env, awsAt(s3.port));
const at = (name: string): string => join(folder, name);

const stores = { folder: at("store"), "s3 bucket": "s3://templora/store" } as const;
for (const [kind, place] of Object.entries(stores)) {
  const onStore = unless(kind === "folder" ? undefined : noS3Server, test);

  onStore(`${kind}: of many that make an object at once, one does`, async () => {
    const store = await openStore(place);
    const tries = Array.from({ length: 20 }, (_, i) => store.putNew("claims/a/1", Buffer.from(`${i}`)));
    const won = (await Promise.all(tries)).flatMap((first, i) => (first ? [i] : []));
    assert.is(won.length, 1);
    assert.is(String(await text(store, "claims/a/1")), String(won[0]));
    assert.equal(await store.list("claims/a/"), ["claims/a/1"]);
    await store.remove("claims/a/1");
    await store.remove("claims/a/1");
    assert.is(await store.get("claims/a/1"), null);
    assert.equal(await store.list("claims/none/"), []);
  });

  onStore(`${kind}: a stale delivery replaces no newer checkpoint, and a result is made once`, async () => {
    const store = await openStore(place);
    const file = at(`state-${kind}`);
    const keep = (claim: Claim, content: string): Promise<void> => {
      writeFileSync(file, content);
      return claim.keep(file);
    };
    const first = await Claim.take(store, "task", "one");
    await keep(first, "first");
    assert.not(await first.isStale());
    const second = await Claim.take(store, "task", "two");
    assert.equal([first.token, second.token], [1, 2]);
    assert.ok(await first.isStale());
    assert.is(await second.resume(file), 1);
    assert.is(readFileSync(file, "utf8"), "first");
    await keep(second, "second");
    await keep(first, "stale"); // it has not noticed yet
    const third = await Claim.take(store, "task", "three");
    assert.is(await third.resume(file), 2);
    assert.is(readFileSync(file, "utf8"), "second");
    assert.is(await third.finish("third\n"), true);
    assert.is(await second.finish("second\n"), false);
    assert.is(await getResult(store, "task"), "third\n");
    assert.ok(await third.isStale());
    assert.equal(await store.list("checkpoints/task/"), []);
    const off = store.upload("checkpoints/task/1", file, AbortSignal.abort());
    assert.is(await off.then(() => "uploaded", () => "called off"), "called off"); // prettier-ignore
    assert.equal(await store.list("checkpoints/task/"), []);
  });
}

test("a text's end, or a stop, waits for no checkpoint that is on its way", async () => {
  const job = await readJobFile(makeJob(at("slow"), 1, 1500));
  const open = await openStore(at("slow-store"));
  const silent = { write: () => true };
  const io = {
    ...{ stdin: Object.assign((async function* () {})(), { isTTY: false }), stdout: silent, stderr: silent },
    ...{ env: process.env, signal: new AbortController().signal, stop: () => undefined },
  };
  using terminal = openTerminal({ quiet: true }, io);
  let task: Task | undefined;
  for await (const planned of tasksOf(job, terminal, io)) {
    await putText(open, planned.bytes);
    task = planned.task;
  }
  assert.ok(task);
  for (const stops of [true, false]) {
    let uploads = 0;
    const store: Store = {
      ...open,
      upload: async (key, path, signal) => {
        if (uploads++ > 0) return open.upload(key, path, signal); // the one after a stop
        await once(signal ?? new AbortController().signal, "abort");
        signal?.throwIfAborted();
      },
    };
    const stop = new AbortController();
    const setting = { device: "cpu", threads: 1, checkpointMs: 0 };
    const ending = await runTask(task, store, setting, stop.signal, () => {
      if (stops && uploads === 1) stop.abort();
    });
    assert.equal(ending, stops ? { ended: "stopped" } : { ended: "done", made: true });
    assert.is(uploads, stops ? 2 : 1);
  }
});

test("a folder's objects are whole or not there, and no other files stay", async () => {
  const store = new FolderStore(at("whole"));
  assert.is(await store.putNew("texts/a", Buffer.from("one")), true);
  assert.is(await store.putNew("texts/a", Buffer.from("two")), false);
  await store.upload("texts/a", join(tiny, "config.json"));
  assert.equal(readdirSync(at("whole/texts")), ["a"]);
  assert.is(await store.download("texts/b", at("b")), false);
});

const submitted = async (job: unknown): Promise<string> => {
  writeFileSync(at("bad.json"), typeof job === "string" ? job : JSON.stringify(job));
  const { code, stderr } = await templora(["worker", at("bad.json"), "--shard", "0/1", "--store", at("bad")]);
  assert.is(code, 2, stderr);
  assert.match(stderr, /^templora: [^\n]*\n$/);
  return stderr;
};

test("a job file that is wrong is refused by the name of its key", async () => {
  makeJob(folder, 1, 300);
  const good = { texts: ["books"], models: [tiny] };
  assert.match(await submitted("{"), /bad\.json: not valid JSON/);
  assert.match(await submitted([]), /bad\.json: expected a JSON object, got \[\]/);
  assert.match(
    await submitted({ ...good, recipe: {} }),
    /recipe: no key of a job \(.*\) \(did you mean recipes\?\)/,
  );
  assert.match(await submitted({ models: [tiny] }), /texts: expected a list, got nothing/);
  assert.match(await submitted({ ...good, texts: [] }), /texts: an empty list/);
  assert.match(await submitted({ ...good, recipes: {} }), /recipes: expected a list of at least one/);
  assert.match(
    await submitted({ ...good, recipes: [{ lr: [1] }] }),
    /recipes\[0\]: lr: expected text, a number/,
  );
  assert.match(await submitted({ ...good, recipes: [{}, { lr: -1 }] }), /recipes\[1\]: --lr -1: expected/);
  assert.match(
    await submitted({ ...good, options: { chnk: 3 } }),
    /unknown option '--chnk' .*did you mean --chunk/i,
  );
  assert.match(await submitted({ ...good, options: { json: "x" } }), /options: json: not for a job/);
  assert.match(await submitted({ ...good, texts: ["none.txt"] }), /none\.txt: no such file; check the path/);
  assert.match(
    await submitted({ ...good, models: ["no/such-model"] }),
    /no\/such-model: no such file or folder here/,
  );
});

test("what cannot be is said in one line", async () => {
  const job = makeJob(folder, 1, 300);
  const refused = async (...argv: string[]): Promise<string> => {
    const { code, stderr } = await templora(argv);
    assert.is.not(code, 0);
    assert.match(stderr, /^templora: [^\n]*\n$/);
    return stderr;
  };
  assert.match(
    await refused("worker", job, "--shard", "2/2", "--store", at("x")),
    /--shard 2\/2: expected i\/n/,
  );
  assert.match(await refused("worker", job, "--shard", "0/2"), /--store is missing/);
  assert.match(await refused("worker", "--store", at("x")), /--queue is missing/);
  assert.match(
    await refused("worker", job, "--shard", "0/1", "--store", "/proc/templora"),
    /\/proc\/templora: /,
  );
  assert.match(
    await refused("submit", job, "--queue", "here", "--store", at("x")),
    /--queue here: expected redis:/,
  );
  const nowhere = "redis://127.0.0.1:1";
  assert.match(
    await refused("jobs", "--queue", nowhere),
    /127\.0\.0\.1:1: no server answers there \(ECONNREFUSED\)/,
  );
});

test("shards share the tasks out; each result has the bits of a lone run; what is done is passed over", async () => {
  const job = makeJob(at("three"), 3, 500, {
    recipes: [{ recipe: "paper" }, { recipe: "paper", dropout: 0.1 }],
  }); // the same twice
  const shard = (part: string): ReturnType<typeof templora> =>
    templora(["worker", job, "--shard", part, "--store", at("shards"), ...machine]);
  assert.match((await shard("0/2")).stdout, /^shard 0 of 2: 2 tasks read, 0 done already, 0 failed\n$/);
  assert.match((await shard("1/2")).stdout, /^shard 1 of 2: 1 tasks read, 0 done already, 0 failed\n$/);
  assert.match((await shard("0/1")).stdout, /: 0 tasks read, 3 done already/);
  const store = await openStore(at("shards"));
  const results = (await Promise.all((await resultsIn(store)).map((key) => getResult(store, key)))).map((one) => made(one ?? "")); // prettier-ignore
  results.sort((a, b) => (a.name < b.name ? -1 : 1));
  assert.is(results.length, 3);
  for (const [i, { lines }] of results.entries()) assert.equal(lines, await lone(at("three"), i));
  const table = await templora(["jobs", "--results", "--store", at("shards")]);
  assert.match(
    table.stdout,
    /^text +tokens +base ppl +adapted +change +computed on\nbooks\/book000\.txt .* cpu \w+\n/,
  );
});

test("a shard that is stopped leaves a checkpoint, from which another build goes on: the record says so", async () => {
  const job = makeJob(at("one"), 1, 3000);
  const argv = [job, "--shard", "0/1", "--store", at("stopped"), ...machine, "--checkpoint-every", "0"];
  const worker = startWorker(argv, { TEMPLORA_CPU_BUILD: "plain" });
  const store = await openStore(at("stopped"));
  const begun = async (): Promise<string[]> => (await Promise.all(readdirSync(at("stopped")).includes("checkpoints") ? readdirSync(at("stopped/checkpoints")).map((key) => store.list(`checkpoints/${key}/`)) : [])).flat(); // prettier-ignore
  while ((await begun()).length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  worker.kill("SIGTERM");
  assert.is(await worker.ended, 143, worker.said);
  assert.equal(await resultsIn(store), []);
  process.env["TEMPLORA_CPU_BUILD"] = "relaxed";
  const { stdout, stderr } = await templora(["worker", ...argv]).finally(
    () => delete process.env["TEMPLORA_CPU_BUILD"],
  );
  assert.match(stdout, /1 tasks read/, stderr);
  const [key = ""] = await resultsIn(store);
  const { task, lines } = made((await getResult(store, key)) ?? "");
  assert.equal([task["resumed_from"], task["token"]], [1, 2]);
  assert.is((lines[0]?.["begun_under"] as { build: string }).build, "plain");
  const table = await templora(["jobs", "--results", "--store", at("stopped")]);
  assert.match(table.stdout, / cpu plain → cpu relaxed\n$/);
});

test("a reading that another delivery takes over stops, and leaves its checkpoint to it", async () => {
  const job = makeJob(at("taken"), 1, 6000);
  const argv = [job, "--shard", "0/1", "--store", at("taken-store"), ...machine, "--checkpoint-every", "0"];
  const worker = startWorker(argv);
  const store = await openStore(at("taken-store"));
  const key = await new Promise<string>((found) => {
    const timer = setInterval(() => {
      const [one] = existsSync(at("taken-store/checkpoints"))
        ? readdirSync(at("taken-store/checkpoints"))
        : [];
      if (one === undefined) return;
      clearInterval(timer);
      found(one);
    }, 50);
  });
  const claim = await Claim.take(store, key, "the test");
  assert.is(await worker.ended, 0, worker.said);
  assert.match(worker.said, /books\/book000\.txt: taken over by another worker/);
  assert.equal(await resultsIn(store), []);
  assert.is(await claim.resume(at("taken.state")), 1);
});

test("the examples in docs/cluster name flags that there are", async () => {
  const examples = new URL("../docs/cluster/", import.meta.url);
  let found = 0;
  for (const name of readdirSync(examples)) {
    const lines = readFileSync(new URL(name, examples), "utf8").matchAll(
      /\b(?:templora|command:) (submit|worker|jobs)\b(.*)/g,
    );
    for (const [, command = "", rest = ""] of lines) {
      const { stdout: help } = await templora([command, "--help"]);
      for (const [flag] of rest.matchAll(/--[a-z-]+/g)) {
        assert.ok(help.includes(flag), `${name}: ${command} ${flag}`);
        found++;
      }
    }
  }
  assert.ok(found > 15, `${found}`);
});

async function text(store: Store, key: string): Promise<string | null> {
  const found = await store.get(key);
  return found && Buffer.from(found).toString();
}

test.run();
