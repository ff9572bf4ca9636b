/** What the dials of a recipe do beyond the paper's, each against what the others give, on each device. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { partsOf, sequence } from "../templora/chunks.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { Adapter } from "../templora/adapter.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import {
  type ChunkRecord,
  Session,
  loadAdapter,
  loadModel,
  readText,
  saveAdapter,
} from "../templora/index.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("dials");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const ids = Int32Array.from({ length: 96 }, (_, t) => (t * 29 + (t >> 3) * 5) % 256);
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0, lr: 2e-2, warmup: 0, epochs: 1 };

test("a sequence in parts: every target once, each behind all that comes before it", () => {
  const whole = sequence(ids, { index: 2, start: 40, end: 57 }, 10);
  const parts = partsOf(whole, 7);
  assert.equal(
    parts.map(({ targets }) => targets.length),
    [7, 7, 3],
  );
  for (const { start, inputs, from, targets, context } of parts) {
    const first = start + from + 1; // of its targets in the text
    assert.equal(targets, ids.subarray(first, first + targets.length));
    assert.equal(inputs, ids.subarray(whole.start, first + targets.length - 1));
    assert.is(context, first - whole.start);
  }
  assert.equal(partsOf(whole, 0), [whole]);
  assert.equal(partsOf(whole, 17), [whole]);
});

test("of a text's first chunk the first token counts, though nothing predicts it", () => {
  const first = sequence(ids, { index: 0, start: 0, end: 20 }, 10);
  const lengths = (size: number): number[] => partsOf(first, size).map(({ targets }) => targets.length);
  assert.equal([lengths(8), lengths(20), lengths(19)], [[7, 8, 4], [19], [18, 1]]);
  assert.equal(lengths(1), new Array(19).fill(1));
});

const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

for (const { name, device } of devices) {
  test(`${name}: --step-tokens learns a chunk as chunks of that size would be learnt`, async () => {
    using model = await loadModel(device, tiny);
    const learnt = async (chunk: number, changes: Partial<Recipe>) => {
      // the whole text so far is everyone's context
      using session = new Session(model, { chunk, window: 96, recipe: { ...recipe, ...changes } });
      session.prefill(ids.subarray(0, 48));
      const losses: (readonly number[])[] = [];
      while (session.due) losses.push((await session.learn()).train_loss);
      return { losses, values: (await session.snapshot()).learner?.values };
    };
    for (const changes of [{}, { dropout: 0.1 }, { kl: 0.5 }]) {
      const [parts, chunks] = [await learnt(24, { step_tokens: 8, ...changes }), await learnt(8, changes)];
      assert.equal(parts.values, chunks.values, JSON.stringify(changes));
      assert.equal(parts.losses.flat(), chunks.losses.flat());
    }
    const { losses } = await learnt(24, { step_tokens: 10, epochs: 2 });
    assert.equal(
      losses.map(({ length }) => length),
      [6, 6],
    );
    // one part after the other, then again
    const [once] = (await learnt(24, { step_tokens: 10 })).losses;
    assert.equal(losses[0]?.slice(0, 3), once);
  });

  test(`${name}: --learn-below learns the mean loss of the tokens below that probability, and nothing where there are none`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const values = async (changes: Partial<Recipe>) => {
      const options = { chunk: 24, window: 24, recipe: { ...recipe, ...changes }, tokenScores: true };
      using session = new Session(model, options);
      session.prefill(ids.subarray(0, 24));
      const { token_scores: each, train_loss } = await session.learn();
      return { each: each?.lora ?? [], train_loss, learner: (await session.snapshot()).learner };
    };
    const all = await values({});
    const p = Math.exp(-(all.each.toSorted((a, b) => a - b)[10] ?? 0)); // the eleventh likeliest is not below its own probability
    const some = await values({ learn_below: p });
    assert.equal(some.train_loss, all.train_loss, "the loss that is told is that of all tokens");
    // Adam's first step by hand: the same adapter, and a loss that leaves the others out
    using adapter = new Adapter(model, recipe, 0);
    using optimizer = new AdamW(task, adapter.parameters, recipe);
    const { inputs, from, targets } = sequence(ids, { index: 0, start: 0, end: 24 }, 24);
    const chosen = targets.map((id, t) => ((all.each[t] ?? 0) > -Math.log(p) ? id : -1));
    assert.is(chosen.filter((id) => id >= 0).length, 12);
    using _scope = task.scope();
    const { result, tape } = record(task, () =>
      model.nll(model.forward(model.ids(task, inputs), { adapter, from, step: 0 }), chosen),
    );
    using _tape = tape;
    tape.backward(result, task.tensor(new Float32Array(23).fill(1 / 12), [23]));
    optimizer.step(recipe.lr);
    const [got, want] = [some.learner?.values ?? [], await adapter.parameters.values.data()];
    assert.ok(relativeError(got, want) < 1e-6, String(relativeError(got, want)));
    const none = await values({ learn_below: 1e-30 });
    assert.is(none.learner?.steps, 0);
    assert.equal(none.train_loss, all.train_loss);
  });

  test(`${name}: --step-tokens with a constant context: a part's keys are what the part before it left`, async () => {
    using model = await loadModel(device, tiny);
    const learnt = async (changes: Partial<Recipe>): Promise<readonly number[]> => {
      const recipeHere = { ...recipe, context_grad: false, ...changes };
      using session = new Session(model, { chunk: 24, window: 24, recipe: recipeHere });
      session.prefill(ids.subarray(0, 48));
      await session.learn();
      return (await session.learn()).train_loss;
    };
    // at a rate of 0 keys never grow old: each part's loss is its share of the whole's
    const [whole = NaN] = await learnt({ lr: 0 });
    const parts = await learnt({ lr: 0, step_tokens: 8 });
    const mean = parts.reduce((sum, loss) => sum + loss, 0) / parts.length;
    assert.is(parts.length, 3);
    assert.ok(Math.abs(mean / whole - 1) < 1e-5, `${mean}, expected ${whole}`);
    assert.not.equal(await learnt({ step_tokens: 8 }), parts);
  });

  test(`${name}: --layers adapts the last ones: the gradients of all of them, and nothing below`, async () => {
    using model = await loadModel(device, tiny);
    const count = model.config.layers.length;
    const first = async (layers: number) => {
      using session = new Session(model, { chunk: 24, window: 24, recipe: { ...recipe, clip: 0, layers } });
      session.prefill(ids.subarray(0, 24));
      const { flops } = await session.learn();
      return { flops, values: (await session.storedAdapter()).values };
    };
    const [all, last, every] = [await first(0), await first(1), await first(count)];
    assert.equal(every.values, all.values);
    const kept = [...all.values].filter(([parameter]) => parameter.startsWith(`layers.${count - 1}.`));
    assert.is(kept.length, all.values.size / count);
    assert.equal(last.values, new Map(kept)); // B is 0 below, so the first step's gradients are the same
    assert.ok(last.flops.train < 0.7 * all.flops.train, `${last.flops.train} of ${all.flops.train}`);
  });

  test(`${name}: --checkpoint-layers below and above the first adapted layer: the same bits, and no backward below`, async () => {
    using model = await loadModel(device, tiny);
    const learnt = async (layers: number, checkpointLayers: number) => {
      const options = { chunk: 24, window: 24, recipe: { ...recipe, layers }, checkpointLayers };
      using session = new Session(model, options);
      session.prefill(ids.subarray(0, 48));
      await session.learn();
      const { flops } = await session.learn();
      return { train: flops.train, values: (await session.snapshot()).learner?.values };
    };
    const count = model.config.layers.length;
    for (const layers of [1, count]) {
      const without = await learnt(layers, 0);
      const again = [];
      for (let first = 1; first <= count; first++) again.push(await learnt(layers, first));
      for (const { values } of again) assert.equal(values, without.values, `${layers} layers`);
      // only what is adapted runs again
      if (layers === 1) assert.is(again[count - 2]?.train, without.train);
    }
  });

  test(`${name}: an adapter of the last layers is saved, loaded and learnt on`, async () => {
    using model = await loadModel(device, tiny);
    const options = { chunk: 24, window: 24, recipe: { ...recipe, layers: 1 } };
    using session = new Session(model, options);
    session.prefill(ids.subarray(0, 24));
    await session.learn();
    const path = join(temporaryFolder(), "adapter");
    await saveAdapter(session, path);
    const adapter = await loadAdapter(model, path);
    const own = await session.storedAdapter();
    assert.equal(adapter.recipe, own.recipe);
    assert.equal(Object.fromEntries(adapter.values), Object.fromEntries(own.values));
    assert.is(adapter.recipe.layers, 1);
    const { layers: _, ...rest } = options.recipe;
    using second = new Session(model, { ...options, recipe: rest, adapter });
    assert.is(second.options.recipe.layers, 1);
    assert.throws(
      () => new Session(model, { ...options, recipe: { ...rest, layers: 2 }, adapter }),
      /recipe\.layers 2: the adapter of .* has 1/,
    );
  });

  test(`${name}: more layers than the model has are refused`, async () => {
    using model = await loadModel(device, tiny);
    const count = model.config.layers.length;
    const refused = new RegExp(`recipe\\.layers: expected a whole number, .*${count}, not ${count + 1}`);
    assert.throws(() => new Session(model, { recipe: { ...recipe, layers: count + 1 } }), refused);
    const records: ChunkRecord[] = [];
    for await (const each of readText(model, ids, { chunk: 48, recipe: { ...recipe, layers: count } }))
      records.push(each);
    assert.is(records.length, 2);
  });
}
test("token scores are what the sums are of, and only where they are asked for", async () => {
  const [cpu] = devices;
  if (!cpu) throw new Error("there is always a cpu");
  using model = await loadModel(cpu.device, tiny);
  const sum = (values: readonly number[] | null | undefined): number =>
    (values ?? []).reduce((a, b) => a + b, 0);
  for (const change of [{}, { dropout: 0.1 }, { step_tokens: 7 }])
    for await (const record of readText(model, ids, {
      chunk: 24,
      window: 30,
      recipe: { ...recipe, ...change },
      tokenScores: true,
    })) {
      const { base, lora } = record.token_scores ?? {};
      assert.equal([base?.length, lora?.length], [record.tokens, record.tokens]);
      assert.equal([sum(base), sum(lora)], [record.base_nll, record.lora_nll]);
    }
  for await (const record of readText(model, ids, { chunk: 48, baseline: false, tokenScores: true }))
    assert.is(record.token_scores?.base, null);
  for await (const record of readText(model, ids, { chunk: 48 })) assert.is("token_scores" in record, false);
});

test.run();
