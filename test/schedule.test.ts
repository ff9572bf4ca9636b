/**
 * The schedule "parallel": chunk k is learnt beside the writing of chunk k + 1, so that each chunk is written with the adapter of one
 * update earlier. What that means is written down here once more, from the parts that a session is made of; the learner in a thread of its own
 * has the bits of the one in this thread.
 */
import { execFile } from "node:child_process";
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { KVCache } from "../model/kv_cache.ts";
import { loadModel } from "../model/load.ts";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Thread } from "../engine/backends/host/workers.js";
import { BadInputError, DeviceLostError, NonFiniteError } from "../engine/errors.ts";
import { Adapter } from "../templora/adapter.ts";
import { bosOf, headed, sequence } from "../templora/chunks.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { writeTokens } from "../templora/decode.ts";
import type { Keeper, Kept } from "../templora/keeping.ts";
import type { ChunkRecord } from "../templora/records.ts";
import type { Place } from "../templora/learner.ts";
import { besideWriter } from "../templora/learner_beside.ts";
import type { Opened } from "../templora/learner_thread.ts";
import { Session } from "../templora/session.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import { Stopwatch } from "../templora/stopwatch.ts";
import { TempLora } from "../templora/trainer.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora, withoutTimes } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const root = new URL("..", import.meta.url);
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0.1, lr: 2e-2, warmup: 0 };
const [chunk, window] = [8, 12];
const options = { schedule: "parallel", chunk, window, recipe, seed: 5, baseline: false } as const;
const prompt = Int32Array.of(40, 77, 12, 90, 200, 31);

/** All that a run gives: tokens, records without their times, the adapter at its end. */
interface Run {
  readonly ids: readonly number[];
  readonly records: readonly object[];
  readonly adapter: Float32Array;
}
type Model = Awaited<ReturnType<typeof loadModel>>;
const untimed = ({ seconds: _, ...record }: ChunkRecord): object => record;

interface Writing {
  readonly given?: GivenOptions;
  readonly place?: Place | undefined;
  readonly read?: readonly Int32Array[];
  readonly from?: Int32Array;
  readonly earlier?: Kept | null;
  /** Stop after so many of what is yielded. */
  readonly stop?: number;
}

/** Writes 40 tokens; `kept` is the state where it was stopped. */
async function write(model: Model, writing: Writing = {}): Promise<Run & { kept: Kept | null }> {
  const { given = {}, place, read = [], from = prompt, earlier = null, stop = Infinity } = writing;
  using session = new Session(model, { ...options, ...given }, place);
  const controller = new AbortController();
  let kept: Kept | null = null;
  const keeper: Keeper = {
    earlier,
    point: () => Promise.resolve(),
    stop: async (take) => void (kept = await take()),
  };
  const [ids, records]: [number[], object[]] = [[], []];
  const steps = writeTokens(session, from, { tokens: 40, read, signal: controller.signal, keeper });
  for await (const step of steps) {
    if (step.type === "token") ids.push(step.id);
    else records.push(untimed(step.record));
    if (ids.length + records.length === stop) controller.abort();
  }
  return { ids, records, adapter: (await session.snapshot()).learner?.values ?? new Float32Array(), kept };
}

/** The same from a learner, an adapter to write with, and rows of a cache that are put together on the host. */
async function byHand(model: Model, from: Int32Array): Promise<object> {
  using task = new Task(model.device);
  using learner = new TempLora(task, model, recipe, 5, { context: { capacity: chunk + window, reuse: 0 } });
  using adapter = new Adapter(model, recipe, 5);
  using cache = new KVCache(model.device, model.config, 2 * chunk + window, { outlivesUpdates: true });
  const ids = [...from];
  const losses: (readonly number[])[] = [];
  let [handed, taken] = [0, 0]; // tokens
  const bos = bosOf(from, model.config);
  const read = (first: number, end: number, into: KVCache): Tensor => {
    const some = Int32Array.from(ids.slice(first, end));
    const begins = into.length === 0 ? headed(some, bos) : some;
    return model.forward(model.ids(task, begins), { adapter, cache: into, from: end - first - 1 });
  };
  const update = async (scored = false): Promise<void> => {
    const span = { index: taken / chunk, start: taken, end: taken + chunk };
    const trained = sequence(Int32Array.from(ids), span, window, bos);
    const learnt = await learner.learn(scored ? trained : null, trained, new Stopwatch(task.meter));
    losses.push(learnt.train_loss);
    taken += chunk;
    adapter.parameters.replace(await learner.adapter.parameters.values.data());
  };
  /** The window before the next chunk: keys of [start, end) by the adapter as it is now, those after them as they were. */
  const renew = async (start: number, end: number): Promise<void> => {
    using _scope = task.scope();
    using older = new KVCache(model.device, model.config, window);
    older.position = start; // a token's position is its place in the text
    if (end > start) read(start, end, older);
    const made = await older.snapshot();
    const old = await cache.snapshot();
    const row = model.config.num_key_value_heads * model.config.head_dim;
    const rows = made.rows.map((by_now, i) =>
      Float32Array.of(...by_now, ...(old.rows[i]?.subarray((end - old.position) * row) ?? [])),
    );
    cache.restore({ length: ids.length - 1 - start, position: start, rows }, adapter.revision);
  };
  while (taken + chunk <= from.length) await update(true);
  handed = taken;
  cache.position = Math.max(0, taken - window);
  while (ids.length < from.length + 40) {
    if (ids.length - handed === chunk) {
      const start = Math.max(0, ids.length - window);
      // Before the first update comes, the window is longer by what it began with: without its first keys it is nothing.
      if (handed > taken) {
        await update();
        await renew(start, handed);
      }
      handed += chunk;
    }
    using _scope = task.scope();
    const logits = await model.logits(read(cache.position + cache.length, ids.length, cache)).data();
    ids.push(logits.indexOf(Math.max(...logits)));
  }
  await update();
  return {
    ids: ids.slice(from.length),
    adapter: await learner.adapter.parameters.values.data(),
    losses,
  };
}

for (const { name, device } of await openTestDevices()) {
  test(`${name}: each chunk is written with the adapter of one update earlier`, async () => {
    using model = await loadModel(device, tiny);
    const long = Int32Array.from({ length: 2 * chunk + 6 }, (_, i) => (i * 29) % 256);
    for (const from of [prompt, long]) {
      const { records, kept: _, ...run } = await write(model, { from });
      const losses = records.map((record) => (record as ChunkRecord).train_loss);
      assert.equal({ ...run, losses }, await byHand(model, from));
      const { ids: cascaded, records: alone } = await write(model, { from, given: { schedule: "cascaded" } });
      const trained = (of: readonly object[]): number[] => of.map((record) => (record as ChunkRecord).flops.train); // prettier-ignore
      assert.equal(
        trained(records),
        trained(alone),
        "what is made for the writer is no part of the training",
      );
      const [first, second] = [2, 2 + chunk]; // where the chunk ends that the given tokens begin, and the one after it
      assert.equal(run.ids.slice(0, first), cascaded.slice(0, first));
      assert.not.equal(run.ids.slice(first, second), cascaded.slice(first, second), "the delay is seen");
    }
  });

  test(`${name}: what is given is learnt before the first token, under both schedules alike`, async () => {
    using model = await loadModel(device, tiny);
    const from = Int32Array.from({ length: 2 * chunk }, (_, i) => (i * 29) % 256);
    const writing = { read: [prompt, from.subarray(0, 11)], from };
    const both = [
      await write(model, writing),
      await write(model, { ...writing, given: { schedule: "cascaded" } }),
    ];
    const [parallel, cascaded] = both.map(({ ids, records }) => ({
      ids: ids.slice(0, chunk), // the first chunk that is written
      records: records.slice(0, 5), // prompt; 8 and 3 tokens; two chunks
    }));
    assert.equal(parallel, cascaded);
  });

  test(`${name}: a chunk is handed before it is taken, and one at a time`, async () => {
    const live = device.stats().liveBuffers;
    {
      using model = await loadModel(device, tiny);
      using session = new Session(model, options);
      const said = (step: Promise<unknown>): Promise<string> => step.then(() => "nothing", String);
      session.prefill(prompt);
      assert.match(await said(session.take()), /hand\(\) a chunk first/);
      await session.hand();
      assert.ok(session.learning);
      assert.match(await said(session.hand()), /take\(\) its adapter first/);
      await session.next();
      assert.match(await said(session.learn()), /take\(\) its adapter first/);
      await session.take();
      assert.not.ok(session.learning);
      await session.hand(); // and is disposed of meanwhile
    }
    assert.is(device.stats().liveBuffers, live);
  });

  test(`${name}: stopped anywhere, then resumed, it gives the bits of an uninterrupted run`, async () => {
    using model = await loadModel(device, tiny);
    const quick = device.info.kind === "cpu";
    const other = { reuseCache: 2, recipe: { ...recipe, context_grad: false } };
    for (const given of quick ? [{}, other] : [other]) {
      const whole = await write(model, { given });
      for (const stop of quick ? [1, 2, 7, 11, 20, 44] : [20]) {
        const { kept: earlier, ids, records } = await write(model, { given, stop });
        const rest = await write(model, { given, earlier });
        const of = `stopped after ${stop}`;
        assert.equal([...ids, ...rest.ids], whole.ids, of);
        assert.equal([...records, ...rest.records], whole.records, of);
        assert.equal(rest.adapter, whole.adapter, of);
      }
    }
  });

  test.after(() => device.close());
}

for (const threads of [1, 2]) {
  const sampling = { temperature: 1.1, top_k: 20, top_p: 0.95, min_p: 0, repetition_penalty: 1.1 };
  const constant = { ...recipe, context_grad: false };
  const kinds: readonly [string, GivenOptions][] = [
    ["the cache read anew", {}],
    ["the cache reused, sampled", { reuseCache: 2, sampling }],
    ["a constant context, layers computed again", { recipe: constant, reuseCache: 1, checkpointLayers: 2 }],
  ];
  for (const [what, given] of threads === 1 ? kinds.slice(0, 2) : kinds.slice(1))
    test(`cpu, ${threads} thread(s), ${what}: a learner in a thread has the bits of one in this thread`, async () => {
      await using device = await openCpu({ threads, v8Flags: true });
      using model = await loadModel(device, tiny);
      const here = await write(model, { given });
      assert.equal(await write(model, { given, place: besideWriter }), here);
      const { kept: earlier, ...stopped } = await write(model, { given, place: besideWriter, stop: 20 });
      for (const place of [undefined, besideWriter]) {
        const rest = await write(model, { given, place, earlier });
        assert.equal([...stopped.ids, ...rest.ids], here.ids);
        assert.equal([...stopped.records, ...rest.records], here.records);
        assert.equal(rest.adapter, here.adapter);
      }
    });
}

test("beside a learner the writer reads several tokens at once only where the model's positions end", async () => {
  await using device = await openCpu({ threads: 1 });
  using model = await loadModel(device, tiny);
  assert.is(model.config.max_position_embeddings, 512);
  const given = { chunk: 32, window: 48, recipe: { ...recipe, epochs: 1 } };
  for (const [reuseCache, places] of [
    [0, [32, 512, 960]],
    [1, [32, 512, 960]],
  ] as const) {
    using session = new Session(model, { ...options, ...given, reuseCache });
    const calls = (): number => session.task.meter.kernels.get("rope_cache")?.calls ?? 0;
    const anew: number[] = [];
    let earlier = 0;
    const from = Int32Array.from({ length: 32 }, (_, i) => i);
    for await (const step of writeTokens(session, from, { tokens: 1000 })) {
      if (step.type === "token" && calls() === earlier) anew.push(session.length - 1);
      earlier = calls();
    }
    assert.equal(anew, places);
  }
});

test("beside a learner the writer's cache has first keys before the chunk that stays as it was written, whatever the window", async () => {
  await using device = await openCpu({ threads: 1 });
  using model = await loadModel(device, tiny);
  for (const window of [0, 4, 8, 11, 12, 20]) {
    const long = Int32Array.from({ length: 5 * chunk }, (_, i) => (i * 29) % 256);
    for (const from of [prompt, long]) {
      using session = new Session(model, { ...options, window });
      const begun = Math.floor(from.length / chunk) * chunk; // where the first chunk begins that is written
      for await (const step of writeTokens(session, from, { tokens: 50 })) {
        if (step.type === "chunk" || session.length <= begun) continue;
        const { writer } = await session.snapshot();
        const written = Math.floor((session.length - 1) / chunk) * chunk; // the chunk in progress
        const renewed = written >= begun + 2 * chunk ? written : begun;
        const first = Math.max(0, renewed - Math.max(window, chunk + 4));
        assert.is(writer?.start, first, `window ${window}, ${from.length} given, token ${session.length}`);
      }
    }
  }
});

test("an adapter that is loaded goes to the thread, and what is saved is what it has learnt", async () => {
  await using device = await openCpu({ threads: 2, v8Flags: true });
  using model = await loadModel(device, tiny);
  using first = new Session(model, options);
  first.prefill(prompt);
  await first.learn();
  const adapter = await first.storedAdapter();
  const saved: string[] = [];
  for (const place of [undefined, besideWriter]) {
    using session = new Session(model, { ...options, adapter }, place);
    for await (const step of writeTokens(session, prompt, { tokens: 20 })) void step;
    saved.push(JSON.stringify(await session.storedAdapter()));
  }
  assert.is(saved[1], saved[0]);
  assert.is.not(saved[0], JSON.stringify(adapter));
});

test("a model of other positions and attention than its files say is learnt so in the thread, too", async () => {
  await using device = await openCpu({ threads: 2, v8Flags: true });
  const attention = { method: "sliding", window: 6 } as const;
  for (const loading of [{ extend: { method: "linear", factor: 4 } }, { attention }] as const) {
    using model = await loadModel(device, tiny, loading);
    assert.equal(await write(model, { place: besideWriter }), await write(model));
  }
});

test("a model that is stretched is learnt beyond the positions that its files say", async () => {
  await using device = await openCpu({ threads: 2, v8Flags: true });
  const extend = { method: "linear", factor: 4 } as const;
  using model = await loadModel(device, tiny, { extend });
  const positions = model.config.max_position_embeddings / extend.factor;
  const from = Int32Array.from({ length: positions + 3 * chunk }, (_, i) => (i * 29) % 256);
  const given = { window: positions + chunk };
  assert.equal(await write(model, { place: besideWriter, given, from }), await write(model, { given, from }));
});

test("a session that goes back to a chunk learnt in the thread has that chunk's adapter, not a later one's", async () => {
  await using device = await openCpu({ threads: 2, v8Flags: true });
  using model = await loadModel(device, tiny);
  using session = new Session(model, options, besideWriter);
  const adapterOf = async (): Promise<Float32Array | null> => (await session.snapshot()).adapter;
  const hand = async (): Promise<void> => {
    session.prefill(prompt);
    await session.hand();
  };
  await hand();
  const untaken = await session.snapshot();
  await session.take();
  const taken = await adapterOf();
  await hand();
  await session.snapshot(); // the second chunk is learnt, and its adapter waits
  await session.restore(untaken);
  await session.take();
  assert.equal(await adapterOf(), taken);
});

test("the device's threads are divided while both work; whoever works alone has them all", async () => {
  await using device = await openCpu({ threads: 3, v8Flags: true });
  using model = await loadModel(device, tiny);
  const onMessage = Reflect.get<Thread, "onMessage">(Thread.prototype, "onMessage");
  const shares: Int32Array[] = []; // the learner's, which it tells first
  Thread.prototype.onMessage = function (this: Thread, heard) {
    onMessage.call(this, (message) => {
      const { answer } = message as { readonly answer?: Partial<Opened> };
      if (answer?.share) shares.push(answer.share);
      heard(message);
    });
  };
  try {
    using session = new Session(model, options, besideWriter);
    const divided = (): unknown => [device.share?.[0], shares[0]?.[0]];
    session.prefill(prompt);
    await session.next();
    assert.equal(divided(), [3, 2]);
    await session.hand();
    assert.equal(divided(), [1, 2]);
    const taking = session.take();
    await new Promise((resume) => setImmediate(resume));
    assert.is(shares[0]?.[0], 3, "the writer waits");
    await taking;
    assert.equal(divided(), [3, 2]);
  } finally {
    Thread.prototype.onMessage = onMessage;
  }
});

test("what goes wrong in the thread is told as in this one", async () => {
  await using device = await openCpu({ threads: 2, v8Flags: true });
  using model = await loadModel(device, tiny);
  using spoilt = new Session(model, options);
  const A = "layers.1.v_proj.A";
  spoilt.adapter?.parameters.set(A, new Float32Array(spoilt.adapter.parameters.get(A).length).fill(3e38));
  const adapter = await spoilt.storedAdapter();
  const from = Int32Array.from({ length: chunk }, (_, i) => i); // learnt before anything is written
  const failure = async (place?: Place): Promise<unknown> => {
    const run = write(model, { given: { adapter }, place, from });
    const error: unknown = await run.catch((thrown: unknown) => thrown);
    assert.instance(error, NonFiniteError, String(error));
    return (error as Error).message;
  };
  assert.is(await failure(besideWriter), await failure());
});

test("the thread ends with its session; where it ends before, the device is lost", async () => {
  await using device = await openCpu({ threads: 2, v8Flags: true });
  using model = await loadModel(device, tiny);
  const post = Reflect.get<Thread, "post">(Thread.prototype, "post");
  const threads = new Set<Thread>();
  Thread.prototype.post = function (this: Thread, message) {
    threads.add(this);
    post.call(this, message);
  };
  try {
    const session = new Session(model, options, besideWriter);
    session.prefill(prompt);
    await session.learn();
    const kept = await session.snapshot();
    const [thread] = threads;
    session.prefill(prompt);
    await session.hand();
    await thread?.terminate();
    const error: unknown = await session.take().catch((thrown: unknown) => thrown);
    assert.instance(error, DeviceLostError, String(error));
    const again: unknown = await session.restore(kept).catch((thrown: unknown) => thrown);
    assert.instance(again, DeviceLostError, "asked later, it does not answer either");
    session.dispose();
    threads.clear();
    const other = new Session(model, options, besideWriter);
    other.prefill(prompt);
    await other.learn();
    other.dispose();
    for (const one of threads) await one.ended;
    assert.is(threads.size, 1);
    // one that cannot have its copy of the model
    threads.clear();
    const folder = join(temporaryFolder(), "model");
    cpSync(tiny, folder, { recursive: true });
    using moved = await loadModel(device, folder);
    rmSync(folder, { recursive: true });
    using third = new Session(moved, options, besideWriter);
    third.prefill(prompt);
    const missing: unknown = await third.next().catch((thrown: unknown) => thrown);
    assert.instance(missing, BadInputError, String(missing));
    for (const one of threads) await one.ended;
    assert.is(threads.size, 1);
  } finally {
    Thread.prototype.post = post;
  }
});

test("far keys, which a cache that slides would misplace, are refused beside a learner, before the model is loaded", async () => {
  for (const method of ["streaming:4+16", "self-extend:2,16"]) {
    const argv = [
      "generate",
      "--prompt",
      "Call me",
      "--model",
      tiny,
      "--device",
      "cpu",
      "--attention",
      method,
    ];
    const { code, stderr } = await templora([...argv, "--schedule", "parallel"]);
    assert.is(code, 2);
    assert.match(stderr, /^templora: .*schedule parallel: its cache slides.*\n$/);
  }
});

test("a text that nobody reads on keeps no process alive", async () => {
  const script = `
    const { generate, loadModel, openDevice } = await import("./templora/index.ts");
    const model = await loadModel(await openDevice("cpu", { threads: 2 }), "test/golden/tiny-tied");
    const options = { schedule: "parallel", tokens: 100, chunk: 8, window: 8 };
    let tokens = 0;
    for await (const event of generate(model, Int32Array.of(1, 2, 3), options)) if (++tokens === 20) break;
    const left = generate(model, Int32Array.of(1, 2, 3), options);
    for (let i = 0; i < 20; i++) await left.next();
    console.log("left");`;
  const argv = ["--import", "tsx", "--input-type=module", "-e", script];
  const child = await promisify(execFile)(process.execPath, argv, { cwd: root, timeout: 60_000 });
  assert.is(child.stdout, "left\n");
});

test("generate: interrupted in the middle of a chunk, then resumed, it is an uninterrupted run, adapter and all", async () => {
  const folder = temporaryFolder();
  const argv = (name: string, ...flags: string[]): string[] => [
    ...["generate", "--prompt", "Call me Ishmael.", "--tokens", "80", "--model", tiny, "--device", "cpu"],
    ...["--threads", "2", "--chunk", "16", "--window", "16", "--rank", "4", "--lr", "2e-2"],
    ...["--schedule", "parallel", "--state", join(folder, "s.state"), "--json", join(folder, name)],
    ...["--save-adapter", join(folder, "adapter"), ...flags],
  ];
  const saved = (): Buffer => readFileSync(join(folder, "adapter/adapter_model.safetensors"));
  const lines = (name: string): unknown[] =>
    jsonLines(readFileSync(join(folder, name), "utf8"))
      .slice(1)
      .map(withoutTimes);
  const whole = await templora(argv("whole"));
  assert.is(whole.code, 0, whole.stderr);
  const adapter = saved();
  rmSync(join(folder, "adapter"), { recursive: true });
  let pieces = 0;
  const stopped = await templora(argv("rest"), { onOutput: (_, stop) => void (++pieces === 45 && stop()) });
  assert.is(stopped.code, 130, stopped.stderr);
  const resumed = await templora(argv("rest", "--resume"));
  assert.is(resumed.stdout, whole.stdout, resumed.stderr);
  assert.equal(lines("rest"), lines("whole"));
  assert.equal(saved(), adapter);
});

test.run();
