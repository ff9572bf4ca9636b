/** What the queue's workers rely on: a job's tasks and their keys, and the store's rules. No server of a queue is needed; S3 has a test's own. */
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { argvOf } from "../cli/queue/flags.ts";
import { FolderStore } from "../cli/queue/folder_store.ts";
import { readJobFile } from "../cli/queue/job_file.ts";
import { Claim, getResult, putText, resultsIn } from "../cli/queue/ledger.ts";
import { makeStore, openStore, reopenStore } from "../cli/queue/open_store.ts";
import { queueOf } from "../cli/queue/queues.ts";
import { runTask } from "../cli/queue/run_task.ts";
import type { Store } from "../cli/queue/store.ts";
import { type Listed, named, tasksTable } from "../cli/queue/task_list.ts";
import { type Task, tasksOf } from "../cli/queue/tasks.ts";
import { WorkFolder, sweep } from "../cli/queue/work_folder.ts";
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
    const store = await makeStore(place);
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
    const store = await makeStore(place);
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
  const open = await makeStore(at("slow-store"));
  const silent = { write: () => true };
  const io = {
    ...{ stdin: Object.assign((async function* () {})(), { isTTY: false }), stdout: silent, stderr: silent },
    ...{ env: process.env, signal: new AbortController().signal, stop: () => undefined },
  };
  const job = await readJobFile(makeJob(at("slow"), 1, 1500), io);
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
  await makeStore(at("whole"));
  const store = new FolderStore(at("whole"));
  assert.is(await store.putNew("texts/a", Buffer.from("one")), true);
  assert.is(await store.putNew("texts/a", Buffer.from("two")), false);
  await store.upload("texts/a", join(tiny, "config.json"));
  assert.equal(readdirSync(at("whole/texts")), ["a"]);
  assert.is(await store.download("texts/b", at("b")), false);
});

test("a store is made where a job is submitted, and nowhere else; what is not mounted is not missing", async () => {
  const place = at("mounted");
  await rejects(openStore(place), /mounted: no store there; templora submit or worker --shard makes one$/);
  assert.not(existsSync(place));
  const { id } = await makeStore(place);
  assert.match(id, /^[0-9a-f]{8}$/);
  assert.is((await makeStore(place)).id, id);
  assert.is((await reopenStore(place, id)).id, id);
  const store = new FolderStore(place);
  assert.is(await store.get("texts/a"), null);
  renameSync(place, at("elsewhere"));
  mkdirSync(place); // where it was mounted
  const calls = [
    store.get("texts/a"),
    store.list("results/"),
    store.download("checkpoints/a/1", at("b")),
    store.putNew("claims/a/1", Buffer.from("1")),
    store.upload("checkpoints/a/1", join(tiny, "config.json")),
  ];
  await Promise.all(calls.map((call) => rejects(call, /mounted: the store is not there now$/)));
  assert.equal(readdirSync(place), []);
  writeFileSync(join(place, "templora-store"), "1\n"); // as they were made before stores had ids
  assert.is((await openStore(place)).id, "");
});

test("tasks of two stores are in two queues, those of one store, model and size in one", () => {
  const task = { needs: 2 ** 31, model: { name: "any", identity: "0".repeat(64) } } as Task;
  const names = ["", "12345678", "87654321"].map((id) => queueOf(task, { id }).name);
  assert.equal(names, ["templora-2gib-000000000000", "templora-2gib-000000000000-12345678", "templora-2gib-000000000000-87654321"]); // prettier-ignore
});

test("what a killed worker has left is removed by the next one on its host, another host's after a day", async () => {
  const left = (host: string): string => join(tmpdir(), `templora-task-${host}-999999999-${randomUUID().slice(0, 6)}`); // prettier-ignore
  const [here, elsewhere, old] = [left(hostname()), left("no-such-host"), left("no-such-host")];
  for (const path of [here, elsewhere, old]) mkdirSync(path);
  utimesSync(old, 0, 0);
  {
    await using own = await WorkFolder.make();
    await sweep();
    assert.equal([own.path, here, elsewhere, old].map(existsSync), [true, false, true, false]);
  }
  rmSync(elsewhere, { recursive: true });
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
    /recipes\[0\]: lr: expected text or a number, got \[1\]/,
  );
  assert.match(await submitted({ ...good, recipes: [{}, { lr: -1 }] }), /recipes\[1\]: --lr -1: expected/);
  const options = (flags: object): Promise<string> => submitted({ ...good, options: flags });
  assert.match(await options({ chnk: 3 }), /bad\.json: options: chnk: no flag of templora ppl \(did you mean chunk\?\)/); // prettier-ignore
  assert.match(await options({ "--lr": 1 }), /options: "--lr": no flag of templora ppl \(did you mean lr\?\)/); // prettier-ignore
  assert.match(await options({ "": 1 }), /options: "": no flag of templora ppl\n/);
  assert.match(await options({ help: true }), /options: help: no flag of templora ppl/);
  assert.match(await options({ special: "/etc/hostname" }), /options: special: expected true or false, got "\/etc\/hostname"/); // prettier-ignore
  assert.match(await options({ special: "--json=/tmp/x" }), /options: special: expected true or false/);
  assert.match(await options({ lr: true }), /options: lr: expected text or a number, got true/);
  assert.match(await options({ recipe: "--special" }), /options: --recipe --special: expected /);
  assert.match(
    await submitted({ ...good, recipes: [{ recipe: "paper" }, { recipe: "paper", ema: 0.5, guard: 1 }] }),
    /bad\.json: recipes\[1\]: --ema: a guard judges updates/,
  );
  assert.match(await options({ chunk: 100_000_000 }), /bad\.json: --chunk 100000000 does not fit/);
  assert.match(await options({ guard: 1, baseline: false }), /bad\.json: --guard 1: it judges/);
  assert.match(await submitted({ ...good, options: { json: "x" } }), /options: json: not for a job/);
  assert.match(await submitted({ ...good, texts: ["none.txt"] }), /none\.txt: no such file; check the path/);
  assert.match(
    await submitted({ ...good, models: ["no/such-model"] }),
    /no\/such-model: no such file or folder here/,
  );
});

test("a flag of a job is one word, or none where it is not given", () => {
  const flags = { lr: 1e-4, baseline: false, templora: true, special: false, "token-scores": true };
  assert.equal(argvOf(flags, ""), ["--lr=0.0001", "--no-baseline", "--token-scores"]);
  assert.equal(argvOf({ "no-baseline": true, buckets: "1,-2 --special" }, ""), ["--no-baseline", "--buckets=1,-2 --special"]); // prettier-ignore
});

test("a task is named by the beginning of its key; what is wrong with that is said", () => {
  const task = (key: string, state: string): Listed => ({ state, task: { key, text: { name: `${key}.txt` } } }) as Listed; // prettier-ignore
  const listed = [task("aab", "done"), task("aac", "failed"), task("b", "failed"), task("b", "failed")];
  const find = (key: string): number => named(listed, "--retry", key, "failed", ["failed"]).length;
  assert.equal(["aac", "b", "failed"].map(find), [1, 2, 3]); // two stores may have the same task
  assert.throws(() => find("aab"), /^--retry aab: aab\.txt is done$/);
  assert.throws(() => find("aa"), /^--retry aa: 2 tasks have such a key$/);
  assert.throws(() => find("c"), /^--retry c: no such task$/);
  assert.throws(() => find(""), /^--retry: expected a task's key or failed, got an empty one/);
});

test("the table of tasks has keys, what tells readings of a text apart, and no control characters", () => {
  const task = (i: number, state: string, flags: object): Listed => ({
    ...{ state, progress: null, reason: state === "failed" ? "a\nb" : "", seconds: 0 },
    queue: null as unknown as Listed["queue"],
    task: {
      ...{ key: String(i).repeat(64), flags: { chunk: 64, ...flags }, needs: 1 },
      ...{ text: { name: "a\x1b[31m\n.txt", sha256: "" }, model: { name: "tiny", identity: "" } },
    },
  });
  const listed = [task(1, "failed", { lr: 1 }), ...Array.from({ length: 25 }, () => task(2, "waiting", {}))];
  const lines = tasksTable(listed).split("\n");
  assert.is(lines[0], "1 failed, 25 waiting");
  assert.match(lines[2] ?? "", /^task +state +text +model +lr +read$/);
  assert.match(lines[3] ?? "", /^111111111111 +failed +a\ufffd\[31m\ufffd\.txt +tiny +1 +a\ufffdb$/);
  assert.match(lines[23] ?? "", /^222222222222 +waiting/);
  assert.is(lines[24], "and 5 more waiting: --json - has them all");
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
  const nowhere = "redis://127.0.0.1:1";
  assert.match(await refused("worker", "--queue", nowhere, "--store", at("x")), /\/x: no store there/);
  assert.match(await refused("jobs", "--results", "--store", at("x")), /\/x: no store there/);
  assert.not(existsSync(at("x")));
  assert.match(
    await refused("jobs", "--queue", nowhere, "--cancel", "all", "--retry", "failed"),
    /: --retry and --cancel: give one of them at a time\n/,
  );
  assert.match(
    await refused("jobs", "--queue", `${nowhere}/x`),
    /127\.0\.0\.1:1\/x: expected the number of a database/,
  );
  assert.match(
    await refused("worker", job, "--shard", "0/1", "--store", "/proc/templora"),
    /\/proc\/templora: /,
  );
  assert.match(
    await refused("submit", job, "--queue", "here", "--store", at("x")),
    /--queue here: expected redis:/,
  );
  assert.match(
    await refused("jobs", "--queue", nowhere),
    /127\.0\.0\.1:1: no server answers there \(ECONNREFUSED\)/,
  );
});

test("a text that can be read only once is refused, and its name does not steer the terminal", async () => {
  const pipe = "a\x1b[31mpipe\n.txt";
  assert.is(spawnSync("mkfifo", [at(pipe)]).status, 0);
  assert.match(await submitted({ texts: [pipe], models: [tiny] }), /a\ufffd\[31mpipe.*\.txt: not a regular file\n$/); // prettier-ignore
});

test("shards share the tasks out; each result has the bits of a lone run; what is done is passed over", async () => {
  const job = makeJob(at("three"), 3, 500, {
    recipes: [{ recipe: "paper" }, { recipe: "paper", dropout: 0.1 }],
  }); // the same twice
  const shard = (part: string): ReturnType<typeof templora> =>
    templora(["worker", job, "--shard", part, "--store", at("shards"), ...machine]);
  assert.match((await shard("0/2")).stdout, /^shard 0 of 2: 2 tasks read, 0 done already, 0 failed\n$/);
  assert.match((await shard("1/2")).stdout, /^shard 1 of 2: 1 task read, 0 done already, 0 failed\n$/);
  assert.match((await shard("0/1")).stdout, /: 0 tasks read, 3 done already/);
  const store = await openStore(at("shards"));
  const results = (await Promise.all((await resultsIn(store)).map((key) => getResult(store, key)))).map((one) => made(one ?? "")); // prettier-ignore
  results.sort((a, b) => (a.name < b.name ? -1 : 1));
  assert.is(results.length, 3);
  for (const [i, { lines }] of results.entries()) assert.equal(lines, await lone(at("three"), i));
  const table = await templora(["jobs", "--results", "--store", at("shards")]);
  assert.match(
    table.stdout,
    /^text +tokens +base ppl +adapted +change +computed on +task\nbooks\/book000\.txt .* cpu \w+ +\w{12}\n/,
  );
});

test("a shard that is stopped leaves a checkpoint, from which another build goes on: the record says so", async () => {
  const job = makeJob(at("one"), 1, 3000);
  const argv = [job, "--shard", "0/1", "--store", at("stopped"), ...machine, "--checkpoint-every", "0"];
  const worker = startWorker(argv, { TEMPLORA_CPU_BUILD: "plain" });
  const store = await makeStore(at("stopped"));
  const begun = async (): Promise<string[]> => (await Promise.all(readdirSync(at("stopped")).includes("checkpoints") ? readdirSync(at("stopped/checkpoints")).map((key) => store.list(`checkpoints/${key}/`)) : [])).flat(); // prettier-ignore
  while ((await begun()).length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  worker.kill("SIGTERM");
  assert.is(await worker.ended, 143, worker.said);
  assert.equal(await resultsIn(store), []);
  process.env["TEMPLORA_CPU_BUILD"] = "relaxed";
  const { stdout, stderr } = await templora(["worker", ...argv]).finally(
    () => delete process.env["TEMPLORA_CPU_BUILD"],
  );
  assert.match(stdout, /1 task read/, stderr);
  const [key = ""] = await resultsIn(store);
  const { task, lines } = made((await getResult(store, key)) ?? "");
  assert.equal([task["resumed_from"], task["token"]], [1, 2]);
  assert.is((lines[0]?.["begun_under"] as { build: string }).build, "plain");
  const table = await templora(["jobs", "--results", "--store", at("stopped")]);
  assert.match(table.stdout, / cpu plain → cpu relaxed +\w{12}\n$/);
});

test("a reading that another delivery takes over stops, and leaves its checkpoint to it", async () => {
  const job = makeJob(at("taken"), 1, 6000);
  const argv = [job, "--shard", "0/1", "--store", at("taken-store"), ...machine, "--checkpoint-every", "0"];
  const worker = startWorker(argv);
  const store = await makeStore(at("taken-store"));
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

async function rejects(call: Promise<unknown>, why: RegExp): Promise<void> {
  assert.match(await call.then(() => "no error", (error: unknown) => (error as Error).message), why); // prettier-ignore
}

async function text(store: Store, key: string): Promise<string | null> {
  const found = await store.get(key);
  return found && Buffer.from(found).toString();
}

test.run();
