/** A guard undoes updates: held to snapshots that are restored by hand where the rule says so, to the bit, on each device. */
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AdamW } from "../engine/optim/adamw.ts";
import { Task } from "../engine/task.ts";
import { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Adapter } from "../templora/adapter.ts";
import { checkCausality } from "../templora/causality.ts";
import { sequence } from "../templora/chunks.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { type ContextSnapshot, SINKS } from "../templora/context.ts";
import { Guard } from "../templora/guard.ts";
import { type ChunkRecord, Session, Totals, generate, loadModel, readText } from "../templora/index.ts";
import { besideWriter } from "../templora/learner_beside.ts";
import { LocalLearner, type Place } from "../templora/learner.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import type { LearnerSnapshot } from "../templora/trainer.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder } from "./support/golden.ts";

const test = suite("guard");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const ids = Int32Array.from({ length: 160 }, (_, t) => (t * 29 + (t >> 3) * 5) % 256);
const [chunk, window, guard] = [8, 12, 3];
const recipe: Recipe = {
  ...{ ...recipes.paper, rank: 4, alpha: 4, dropout: 0, lr: 2e-2, warmup: 0, epochs: 1 },
  guard,
};
const constant = { context_grad: false };

type Given = Omit<GivenOptions, "recipe">;

/** What counts of a record. */
const figures = ({ index, base_nll, lora_nll, train_loss, skipped_steps, undone }: ChunkRecord): object => ({
  ...{ index, base_nll, lora_nll, train_loss, skipped_steps, undone },
});

/** To the bit. */
function same(a: LearnerSnapshot | null | undefined, b: LearnerSnapshot | null | undefined): void {
  assert.ok(a && isDeepStrictEqual(a, b), "what was learnt");
}

async function read(session: Session, text: Int32Array): Promise<ChunkRecord[]> {
  const records: ChunkRecord[] = [];
  while (session.length < text.length) {
    session.prefill(text.subarray(session.length, session.length + chunk));
    records.push(await session.learn());
  }
  return records;
}

/** A text that no adapter reads better than the frozen model, which writes it. */
async function writtenBy(model: Llama, length: number): Promise<Int32Array> {
  const sampling = { temperature: 1 };
  using writer = new Session(model, { templora: false, chunk: 16, window: 64, sampling });
  writer.prefill(Int32Array.of(1));
  while (writer.length < length) await writer.next();
  return writer.ids;
}

/** The same without a guard: where a chunk was too bad, its session goes back to what the update before it began from. */
async function byHand(model: Llama, given: Given & { readonly recipe: Recipe }) {
  using session = new Session(model, { ...given, recipe: { ...given.recipe, guard: 0 } });
  const records: ChunkRecord[] = [];
  const ages: number[] = [];
  let before: LearnerSnapshot | null = null;
  while (session.length < ids.length) {
    session.prefill(ids.subarray(session.length, session.length + chunk));
    const now = await session.snapshot();
    const first = await session.learn();
    const { base_nll, lora_nll, tokens } = first;
    const margin = 1 + given.recipe.guard / 100;
    const ratio = Math.exp(((lora_nll ?? NaN) - (base_nll ?? NaN)) / tokens);
    if (!before || !now.learner || ratio <= margin) {
      before = now.learner;
      records.push({ ...first, undone: 0 });
      continue;
    }
    const scored = await session.snapshot();
    const { age = 0 } = scored.learner?.context ?? {};
    ages.push(age);
    const { values, m, v, steps } = before;
    const context = age === 1 ? null : await madeAnew(model, session, now.learner.context, before);
    await session.restore({ ...now, learner: { ...now.learner, values, m, v, steps, context } });
    const { train_loss, skipped_steps } = await session.learn();
    records.push({ ...first, train_loss, skipped_steps, undone: 1 });
    // a memory holds what the chunk was scored with
    const after = await session.snapshot();
    const neighbours = scored.learner?.neighbours ?? null;
    const learner = after.learner && { ...after.learner, neighbours };
    await session.restore({ ...after, learner, neighbours: scored.neighbours });
  }
  return { records, ages, snapshot: await session.snapshot() };
}

/** A context that slides, with the keys of the chunk before as the adapter makes them that is back again; where an update is one step, they are so. */
async function madeAnew(
  model: Llama,
  { options, task, length }: Session,
  context: ContextSnapshot | null,
  { values }: LearnerSnapshot,
): Promise<ContextSnapshot | null> {
  const { recipe, trainWindow } = options;
  if (!context || (recipe.epochs === 1 && recipe.step_tokens === 0)) return context;
  const start = Math.floor((length - 1) / chunk) * chunk;
  const { inputs, from } = sequence(ids, { index: 0, start, end: length }, trainWindow);
  using adapter = new Adapter(model, recipe, 0);
  adapter.parameters.replace(values);
  using cache = new KVCache(model.device, model.config, trainWindow + chunk, { outlivesUpdates: true });
  using _scope = task.scope();
  cache.restore(context.cache, 0);
  cache.slide(task, from, SINKS);
  const rows = Math.min(start === chunk ? chunk - 1 : chunk, cache.position > 0 ? from - SINKS : from);
  cache.rewind(from - rows);
  model.forward(model.ids(task, inputs.subarray(from - rows, from)), { adapter, cache, from: rows - 1 });
  return { ...context, cache: await cache.snapshot() };
}

const cases: readonly (Given & { readonly recipe?: Partial<Recipe> })[] = [
  {},
  { recipe: { epochs: 2 } },
  { recipe: { dropout: 0.1 } },
  { recipe: { step_tokens: 3, epochs: 2 } },
  { recipe: { beta1: 0.5, clip: 0, learn_below: 0.01 } },
  { trainWindow: 6 },
  { recipe: constant },
  { recipe: constant, reuseCache: 2 },
  { recipe: { ...constant, epochs: 2 }, reuseCache: 2 },
  { recipe: { ...constant, step_tokens: 3 }, reuseCache: 3 },
  { recipe: { ...constant, dropout: 0.1 }, reuseCache: 2 },
  { recipe: { ...constant, epochs: 2 }, trainWindow: 20, reuseCache: 2 },
  { knn: 0.2, knnTokens: 30 },
];

const devices = await openTestDevices();
for (const { name, device } of devices) {
  for (const { recipe: changes = {}, ...others } of cases)
    test(`${name}, ${JSON.stringify({ ...changes, ...others })}: the bits of snapshots that are restored by hand`, async () => {
      using model = await loadModel(device, tiny);
      const options = { chunk, window, ...others, recipe: { ...recipe, ...changes } };
      using session = new Session(model, options);
      const records = await read(session, ids);
      const { records: wanted, ages, snapshot } = await byHand(model, options);
      assert.equal(records.map(figures), wanted.map(figures));
      const { learner } = await session.snapshot();
      same(learner && { ...learner, kept: null }, snapshot.learner);
      assert.ok(records.filter(({ undone }) => undone === 1).length > 1, "some updates are undone");
      assert.ok(records.slice(1).some(({ undone }) => undone === 0));
      if (options.reuseCache) {
        assert.ok(ages.includes(1), "where the cache was filled for the chunk");
        assert.ok(ages.some((age) => age > 1), "and where it had slid"); // prettier-ignore
      }
    });

  const places: readonly (Place | undefined)[] = [
    undefined,
    (model, options) => new LocalLearner(model, options),
    ...(device.info.kind === "cpu" ? [besideWriter] : []),
  ];
  test(`${name}: under either schedule, in any place, the same bits`, async () => {
    using model = await loadModel(device, tiny);
    const options = { chunk, window, recipe: { ...recipe, ...constant }, reuseCache: 2 };
    const found = await Promise.all(
      places.map(async (place) => {
        using session = new Session(model, { ...options, schedule: place ? "parallel" : "cascaded" }, place);
        const records = (await read(session, ids)).map(figures);
        return { records, learner: (await session.snapshot()).learner };
      }),
    );
    for (const { records, learner } of found) {
      assert.equal(records, found[0]?.records);
      same(learner, found[0]?.learner);
    }
  });

  test(`${name}: a session goes on from a snapshot with the same bits, between an update and its undoing, too`, async () => {
    using model = await loadModel(device, tiny);
    for (const change of [{}, { recipe: { ...recipe, ...constant, epochs: 2 }, window: 20, reuseCache: 3 }]) {
      using whole = new Session(model, { chunk, window, recipe, ...change });
      const wanted = (await read(whole, ids)).map(figures);
      using session = new Session(model, whole.options);
      const records: object[] = [];
      while (session.length < ids.length) {
        session.prefill(ids.subarray(session.length, session.length + chunk));
        const snapshot = await session.snapshot();
        using used = new Session(model, whole.options);
        await read(used, ids.subarray(0, chunk)); // whose first token is not scored
        await used.restore(snapshot);
        const other = figures(await used.learn());
        records.push(figures(await session.learn()));
        assert.equal(other, records.at(-1));
        same((await used.snapshot()).learner, (await session.snapshot()).learner);
      }
      assert.equal(records, wanted);
    }
  });

  test(`${name}: an update is undone where the perplexity is above the frozen model's by more than the margin`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using adapter = new Adapter(model, recipe, 0);
    const { parameters } = adapter;
    using optimizer = new AdamW(task, parameters, recipe);
    const nll = (perplexity: number): number => 10 * Math.log(perplexity);
    const some = "layers.0.q_proj.A";
    for (const [lora, base, tokens, percent, undone] of [
      [nll(110.1), nll(100), 10, 10, true],
      [nll(109.9), nll(100), 10, 10, false],
      [nll(90), nll(100), 10, 10, false],
      [nll(100), nll(110.1), 10, 10, false],
      [nll(400), nll(100), 10, 250, true],
      [nll(300), nll(100), 10, 250, false],
      [1, 1, 10, 1e-9, false], // as good is not worse
      [Infinity, 1, 10, 1, false], // what is not finite ends the text, and is no judgement
      [0, 0, 0, 1, false], // nothing was scored
    ] as const) {
      using kept = new Guard(task, parameters, optimizer, percent);
      const before = await parameters.values.data();
      assert.not(kept.judge(lora, base, tokens), "there was no update yet");
      const { steps } = optimizer;
      optimizer.step(1e-2);
      parameters.set(
        some,
        before.slice(0, parameters.get(some).length).map((x) => x + 1),
      );
      const { revision } = adapter;
      assert.is(kept.judge(lora, base, tokens), undone, `${lora} and ${base}, ${percent} %`);
      assert.is(adapter.revision !== revision, undone);
      assert.is(optimizer.steps, undone ? steps : steps + 1);
      assert.is(isDeepStrictEqual(await parameters.values.data(), before), undone);
    }
  });

  test(`${name}: a restored state must fit`, async () => {
    using model = await loadModel(device, tiny);
    using session = new Session(model, { chunk, window, recipe });
    await read(session, ids.subarray(0, 16));
    const snapshot = await session.snapshot();
    const { learner } = snapshot;
    const kept = learner?.kept;
    assert.ok(kept);
    assert.is(kept.steps, 1, "as the second update found it");
    assert.is(learner.steps, 2);
    const damaged = { ...snapshot, learner: { ...learner, kept: { ...kept, v: kept.v.slice(1) } } };
    await session.restore(damaged).then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, /values and moments do not fit together: it is damaged/),
    );
  });

  test(`${name}: a rate that is far too high is held near the frozen model`, async () => {
    using model = await loadModel(device, tiny);
    const text = await writtenBy(model, 320);
    const ratio = async (guard: number): Promise<number> => {
      const totals = new Totals();
      const options = { chunk: 16, window: 48, recipe: { ...recipe, lr: 5e-2, guard } };
      for await (const record of readText(model, text, options)) totals.add(record);
      const { base_ppl, lora_ppl, undone_updates } = totals.perplexities;
      assert.is(undone_updates === undefined, guard === 0);
      return (lora_ppl ?? NaN) / (base_ppl ?? NaN);
    };
    const [loose, held] = [await ratio(0), await ratio(1)];
    assert.ok(loose > 1.7, `without a guard ${loose} times the frozen model's perplexity`);
    assert.ok(held < 1.25, `with it ${held} times`);
  });

  test(`${name}: without a guard, and with one that finds nothing, the bits are the same; only with one a record speaks of it`, async () => {
    using model = await loadModel(device, tiny);
    const found = async (guard: number) => {
      using session = new Session(model, { chunk, window, recipe: { ...recipe, guard } });
      const records = await read(session, ids);
      const { learner } = await session.snapshot();
      return { records, learner };
    };
    const [without, never] = [await found(0), await found(1e6)];
    const plain = ({ undone: _, ...record }: ChunkRecord): object => ({
      ...record,
      ...{ seconds: null, bytes: null },
    });
    assert.equal(never.records.map(plain), without.records.map(plain));
    same(never.learner && { ...never.learner, kept: null }, without.learner);
    assert.is(without.learner?.kept, null);
    assert.ok(without.records.every((record) => !("undone" in record)));
    assert.ok(never.records.every(({ undone }) => undone === 0));
    // a copy of values and moments, read and written, is all that it costs
    const { length = NaN } = never.learner?.values ?? [];
    for (const [i, { bytes }] of never.records.entries()) {
      assert.is(bytes.train - (without.records[i]?.bytes.train ?? NaN), 3 * 8 * length);
      assert.is(bytes.score, without.records[i]?.bytes.score);
    }
  });

  test(`${name}: what was never learnt is not undone`, async () => {
    using model = await loadModel(device, tiny);
    const text = await writtenBy(model, 40);
    using spoilt = new Session(model, { chunk, window, recipe: { ...recipe, lr: 0.5, guard: 0 } });
    await read(spoilt, ids.subarray(0, 24));
    const adapter = await spoilt.storedAdapter();
    const { lr } = recipe;
    for (const [epochs, undone] of [
      [0, [0, 0, 0]],
      [1, [0, 1, 1]],
    ] as const) {
      const changes = { lr, warmup: 0, dropout: 0, context_grad: true, epochs, guard };
      using session = new Session(model, { chunk, window, adapter, recipe: changes });
      const records = await read(session, text.subarray(0, 24));
      for (const { tokens, lora_nll, base_nll } of records)
        assert.ok((lora_nll ?? NaN) > (base_nll ?? NaN) + 0.1 * tokens, "the adapter that is loaded is bad");
      assert.equal(
        records.map((record) => record.undone),
        undone,
      );
    }
  });

  test(`${name}: no score knows what comes later`, async () => {
    using model = await loadModel(device, tiny);
    const text = ids.subarray(0, 60);
    for (const change of [{}, { recipe: { ...recipe, ...constant }, reuseCache: 2 }])
      for await (const flip of checkCausality(model, text, [59, 41, 7], { chunk, window, recipe, ...change }))
        assert.equal(flip.moved, [], `token ${flip.position}`);
  });

  test(`${name}: where there is no score of both models, a guard is refused`, async () => {
    using model = await loadModel(device, tiny);
    const says =
      /^guard 3: it judges updates by the frozen model's scores of what is read, and here there are none/;
    const options = { chunk, window, recipe };
    assert.throws(() => new Session(model, { ...options, baseline: false }), says);
    new Session(model, { ...options, baseline: false, templora: false }).dispose();
    using session = new Session(model, options);
    session.prefill(ids.subarray(0, 4));
    for (const attempt of [
      session.next(),
      generate(model, ids.subarray(0, 4), { ...options, tokens: 2 }).next(),
    ])
      await attempt.then(
        () => assert.unreachable(),
        (error: Error) => assert.match(error.message, says),
      );
    assert.is(session.length, 4);
  });
}
test.after(async () => {
  for (const { device } of devices) {
    assert.is(device.stats().liveBuffers, 0);
    await device.close();
  }
});

test.run();
