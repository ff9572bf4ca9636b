/** What the steps of a session promise, and the parts that they are made of, on each device. */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { at } from "../kernels/base/at.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { allocate } from "../engine/tensor.ts";
import { Decoder } from "../model/decoder.ts";
import { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { Adapter } from "../templora/adapter.ts";
import { chunkSpans, sequence } from "../templora/chunks.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { FrozenContext } from "../templora/context.ts";
import { Session } from "../templora/session.ts";
import { Stopwatch } from "../templora/stopwatch.ts";
import { score, totalOf } from "../templora/scoring.ts";
import { TempLora } from "../templora/trainer.ts";
import { openTestDevices } from "./support/backends.ts";
import { WaitingDevice } from "./support/faulty_device.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";

const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0.1, lr: 2e-2, warmup: 0 };
const given = Int32Array.from({ length: 64 }, (_, t) => (2 + t * 29 + (t >> 3) * 5) % 256);
const context = { capacity: 80, reuse: 0 };

/** The same behind the model's BOS. */
const withBos = ({ tokenizer: { bosId } }: Llama): Int32Array =>
  Int32Array.of(bosId ?? -1, ...given.subarray(1));

async function refusal(attempt: Promise<unknown>): Promise<string> {
  let said = "no error";
  await attempt.catch((error: unknown) => (said = String(error)));
  return said;
}

for (const { name, device } of await openTestDevices()) {
  const before = device.stats().liveBuffers;

  test(`${name}: time is booked wherever arithmetic is, also where the score is the training's first pass`, async () => {
    using model = await loadModel(device, tiny);
    for (const change of [{ dropout: 0.1 }, { dropout: 0 }, { dropout: 0, context_grad: false }]) {
      using session = new Session(model, { chunk: 8, window: 12, recipe: { ...recipe, ...change } });
      for (const from of [0, 8]) {
        session.prefill(given.subarray(from, from + 8));
        const began = performance.now();
        const { flops, seconds } = await session.learn();
        const most = (performance.now() - began) / 1000;
        for (const what of ["base", "score", "train"] as const) {
          assert.ok(flops[what] > 0, `${what} has arithmetic`);
          assert.ok(seconds[what] > 0, `${what} has time: ${JSON.stringify(change)}`);
        }
        assert.ok(seconds.base + seconds.score + seconds.train <= most + 1e-9, "nothing is counted twice");
      }
    }
  });

  test(`${name}: the score costs no pass where it is the training's first`, async () => {
    using model = await loadModel(device, tiny);
    const epochs = 3;
    for (const { passes, trainWindow, ...change } of [
      { dropout: 0, trainWindow: 12, passes: epochs },
      { dropout: 0.1, trainWindow: 12, passes: epochs + 1 },
      { dropout: 0, trainWindow: 4, passes: epochs + 1 },
      { dropout: 0, trainWindow: 12, epochs: 0, passes: 1 },
    ]) {
      const options = { chunk: 8, window: 12, trainWindow, baseline: false };
      using session = new Session(model, { ...options, recipe: { ...recipe, epochs, ...change } });
      session.prefill(given.subarray(0, 24));
      for (let chunk = 0; chunk < 2; chunk++) await session.learn();
      const before = session.task.meter.kernels.get("embedding")?.calls ?? NaN;
      assert.type((await session.learn()).lora_nll, "number");
      assert.is(session.task.meter.kernels.get("embedding")?.calls, before + passes, JSON.stringify(change));
    }
  });

  test(`${name}: what a session wrote, part of a chunk too, is scored only where that costs no pass`, async () => {
    using model = await loadModel(device, tiny);
    for (const { dropout, trainWindow, free } of [
      { dropout: 0.1, trainWindow: 12, free: false },
      { dropout: 0, trainWindow: 4, free: false },
      { dropout: 0, trainWindow: 12, free: true },
    ]) {
      const options = { chunk: 8, window: 12, trainWindow, recipe: { ...recipe, dropout }, baseline: false };
      using session = new Session(model, options);
      session.prefill(given.subarray(0, 8));
      assert.ok(session.due);
      assert.type((await session.learn()).lora_nll, "number");
      session.prefill(given.subarray(8, 10));
      while (session.length < 16) {
        assert.not(session.due);
        await session.next();
      }
      using again = new Session(model, options);
      await again.restore(await session.snapshot());
      for (const one of [session, again]) {
        assert.ok(one.due);
        assert.is((await one.learn()).lora_nll !== null, free);
      }
    }
  });

  test(`${name}: what is given is scored although the session has written what is behind it`, async () => {
    using model = await loadModel(device, tiny);
    using session = new Session(model, { chunk: 8, window: 12, recipe, baseline: false });
    session.prefill(given.subarray(0, 5));
    await session.next();
    assert.type((await session.learn(5)).lora_nll, "number");
    assert.is((await session.learn(1)).lora_nll, null);
  });

  test(`${name}: the records of a text that was written cost what the device was asked for, each chunk once`, async () => {
    using model = await loadModel(device, tiny);
    using session = new Session(model, { chunk: 8, window: 12, recipe });
    session.prefill(given.subarray(0, 5));
    const { flops, bytes } = session.task.meter; // what making the session cost
    const booked = { flops, bytes };
    for (let chunk = 0; chunk < 3; chunk++) {
      while (!session.due) await session.next();
      const record = await session.learn();
      for (const amount of ["flops", "bytes"] as const) {
        const { base, score, train } = record[amount];
        booked[amount] += base + score + train;
      }
    }
    const { meter } = session.task;
    assert.equal(booked, { flops: meter.flops, bytes: meter.bytes });
  });

  test(`${name}: a text's first token, alone in its chunk, has no score and teaches nothing`, async () => {
    using model = await loadModel(device, tiny);
    using session = new Session(model, { chunk: 1, window: 4, recipe });
    session.prefill(given.subarray(0, 2));
    const taught = async (): Promise<object> => {
      const { tokens, base_nll, train_loss } = await session.learn();
      return { tokens, scored: base_nll !== 0, epochs: train_loss.length };
    };
    assert.equal(await taught(), { tokens: 0, scored: false, epochs: 0 });
    assert.equal(await taught(), { tokens: 1, scored: true, epochs: recipe.epochs });
  });

  test(`${name}: a session takes on the state of an earlier snapshot of its own`, async () => {
    using model = await loadModel(device, tiny);
    const sampling = { temperature: 1.1, top_k: 20, top_p: 0.95, min_p: 0, repetition_penalty: 1.1 };
    using session = new Session(model, { chunk: 8, window: 12, recipe, sampling });
    session.prefill(given.subarray(0, 5));
    const goOn = async (): Promise<number[]> => {
      for (let step = 0; step < 12; step++)
        if (session.due) await session.learn();
        else await session.next();
      return [...session.ids];
    };
    for (let step = 0; step < 3; step++) {
      const snapshot = await session.snapshot();
      assert.is(snapshot.writer === null, step === 0);
      const first = await goOn();
      await session.restore(snapshot);
      assert.equal(await goOn(), first, `step ${step}`);
      await session.restore(snapshot);
      await session.next();
    }
  });

  test(`${name}: a session refuses a wrong step or snapshot, and stays what it was`, async () => {
    using model = await loadModel(device, tiny);
    const { vocab_size, max_position_embeddings: positions } = model.config;
    const options = { chunk: 8, window: 12, recipe };
    const tooWide = { ...options, window: positions };
    assert.throws(() => new Session(model, tooWide), /positions: lower window or chunk/);
    for (const bad of [{ chunk: 0 }, { chunk: 1.5 }, { window: -1 }, { seed: -1 }, { checkpointLayers: 99 }])
      assert.throws(() => new Session(model, { ...options, ...bad }), /expected a whole number/);
    for (const bad of [{ windw: 3 }, { recipe: { learning_rate: 1 } }, { sampling: { topK: 1 } }])
      assert.throws(() => new Session(model, { ...options, ...bad } as never), /no such option; there are/);
    for (const some of [{}, { reuseCache: 3 }]) {
      using fits = new Session(model, { ...some, recipe }); // whatever a caller leaves out fits the model
      const { chunk, window } = fits.options;
      assert.is(window + chunk * ((some.reuseCache ?? 0) + 1), positions);
      fits.prefill(given.subarray(0, 5));
      assert.type(await fits.next(), "number");
    }
    using session = new Session(model, options);
    for (const id of [-1, vocab_size])
      assert.throws(() => session.prefill(Int32Array.of(3, id)), /outside the model's vocabulary/);
    assert.is(session.length, 0);
    session.prefill(given.subarray(0, 5));
    const step = session.next();
    assert.throws(() => session.dispose(), /dispose\(\) was called while next\(\) runs/);
    assert.throws(() => session.prefill(given), /prefill\(\) was called while next\(\) runs/);
    assert.match(await refusal(session.snapshot()), /snapshot\(\) was called while next\(\) runs/);
    await step;
    using other = new Session(model, { ...options, templora: false });
    const snapshot = await session.snapshot();
    assert.match(await refusal(other.restore(snapshot)), /a session with another templora/);
    const foreign = session.restore({ ...snapshot, ids: Int32Array.of(vocab_size) });
    assert.match(await refusal(foreign), /outside the model's vocabulary/);
    for (const damage of [{ written: snapshot.written.slice(1) }, { learnt: -1 }, { learnt: 7 }])
      assert.match(await refusal(session.restore({ ...snapshot, ...damage })), /does not fit together/);
    const ids = session.ids.slice();
    session.ids.fill(0); // a copy
    for (const learnt of [0, ids.length]) await session.restore({ ...snapshot, learnt });
    assert.equal(session.ids, ids);
    other.dispose();
    assert.match(await refusal(other.next()), /next\(\): the session was disposed of/);
    other.dispose();
  });

  test(`${name}: unrotated keys after a slide lie at their places in the cache`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const logits: Float32Array[] = [];
    for (const unrotated of [false, true]) {
      using _scope = task.scope();
      using cache = new KVCache(device, model.config, 16, { unrotated });
      model.forward(model.ids(task, given.subarray(0, 12)), { cache });
      cache.slide(task, 7, 0);
      const hidden = model.forward(model.ids(task, given.subarray(12, 14)), { cache, from: 1 });
      logits.push(await model.logits(hidden).data());
    }
    const [turned = [], unturned = []] = logits;
    assert.ok(turned.length > 0 && relativeError(unturned, turned) < 1e-5);
  });

  for (const keepBos of [null, true, false])
    test(`${name}: after an update, writing sees the chunk and the window before it, BOS kept: ${String(keepBos)}`, async () => {
      using model = await loadModel(device, tiny);
      using task = new Task(device);
      const window = 3;
      const still = { chunk: 8, window, recipe: { ...recipe, lr: 1e-30 } }; // stays zero
      using session = new Session(model, keepBos === null ? still : { ...still, keepBos });
      const text = keepBos === null ? given : withBos(model);
      session.prefill(text.subarray(0, 8));
      while (session.length < 48) {
        if (session.due) await session.learn();
        using _scope = task.scope();
        const seen = session.ids.slice(Math.max(0, session.learnt - window));
        if (keepBos) seen[0] = at(text, 0);
        const hidden = model.forward(model.ids(task, seen), { from: seen.length - 1 });
        const logits = await model.logits(hidden).data();
        assert.is(await session.next(), logits.indexOf(Math.max(...logits)), `token ${session.length}`);
      }
    });

  for (const keepBos of [null, true, false])
    test(`${name}: without an adapter, writing sees as much as window and chunk hold, then the window, BOS kept: ${String(keepBos)}`, async () => {
      using model = await loadModel(device, tiny);
      using task = new Task(device);
      const [chunk, window] = [8, 3];
      const frozen = { chunk, window, templora: false };
      using session = new Session(model, keepBos === null ? frozen : { ...frozen, keepBos });
      const text = keepBos === null ? given : withBos(model);
      session.prefill(text.subarray(0, chunk + window));
      for (let start = 0; session.length < 48;) {
        if (session.length - start > chunk + window) start = session.length - window;
        using _scope = task.scope();
        const seen = session.ids.slice(start);
        if (keepBos) seen[0] = at(text, 0);
        const hidden = model.forward(model.ids(task, seen), { from: seen.length - 1 });
        const logits = await model.logits(hidden).data();
        assert.is(await session.next(), logits.indexOf(Math.max(...logits)), `token ${session.length}`);
      }
    });

  test(`${name}: cached keys serve for as many updates as reuseCache says`, async () => {
    using model = await loadModel(device, tiny);
    using session = new Session(model, { chunk: 8, window: 12, recipe, reuseCache: 2 });
    session.prefill(given.subarray(0, 16));
    const readAnew: boolean[] = [];
    let updated = false;
    while (readAnew.length < 7) {
      if (session.due) {
        await session.learn();
        updated = true;
        continue;
      }
      const calls = (): number => session.task.meter.kernels.get("rope_cache")?.calls ?? 0;
      const earlier = calls();
      await session.next();
      if (updated) readAnew.push(calls() === earlier); // several tokens at once take no rope_cache
      updated = false;
    }
    assert.equal(readAnew, [true, false, false, true, false, false, true]);
  });

  test(`${name}: with keys that serve again, the frozen model is read as an adapter is that does nothing`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const still = { ...recipe, dropout: 0, lr: 0, epochs: 1, context_grad: false };
    using session = new Session(model, { chunk: 8, window: 12, recipe: still, reuseCache: 2 });
    session.prefill(given);
    for (let chunk = 0; chunk < 8; chunk++) {
      const { base_nll, lora_nll, flops } = await session.learn();
      assert.is(base_nll, lora_nll, `chunk ${chunk}`);
      const span = { index: chunk, start: 8 * chunk, end: 8 * chunk + 8 };
      const anew = await score(task, model, sequence(given, span, 12), null);
      const same = chunk < 2 || chunk % 3 === 0; // read anew; before that, nothing was forgotten
      assert.is(Math.abs((base_nll ?? 0) - anew) < 1e-3, same, `chunk ${chunk}`);
      assert.ok(flops.base <= flops.score, "as much is read");
    }
  });

  test(`${name}: a cache that slides keeps the sinks and the newest, at their positions`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using cache = new KVCache(device, model.config, 16);
    model.forward(model.ids(task, given.subarray(0, 12)), { cache });
    const whole = await cache.snapshot();
    cache.slide(task, 7, 2);
    const after = await cache.snapshot();
    assert.equal([after.length, after.position], [7, 5]);
    for (const [i, rows] of after.rows.entries()) {
      const row = rows.length / 7;
      const of = (from: number, to: number): number[] => [
        ...(whole.rows[i]?.subarray(from * row, to * row) ?? []),
      ];
      assert.equal([...rows], [...of(0, 2), ...of(7, 12)]);
    }
    using copy = new KVCache(device, model.config, 16);
    copy.restore(after, 0);
    const next = (to: KVCache, positions?: Int32Array): Promise<Float32Array> => {
      const pass = { cache: to, ...(positions && { positions }) };
      return model.logits(model.forward(model.ids(task, given.subarray(12, 13)), pass)).data();
    };
    const own = await next(cache);
    assert.equal(await next(copy), own);
    cache.rewind(7);
    assert.equal(await next(cache, Int32Array.of(12)), own);
    assert.throws(() => cache.rewind(9), /cannot rewind/);
    using small = new KVCache(device, model.config, 4);
    assert.throws(() => small.restore(after, 0), /capacity of 4/);
    cache.clear();
    assert.is(cache.position, 0);
    copy.clear();
    copy.restore(after, 3);
    assert.throws(() => next(copy), /adapter revision 3/);
  });

  test(`${name}: a span narrows what each token sees; ids outside the vocabulary are refused`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const last = (ids: Int32Array, window: number): Promise<Float32Array> => {
      const pass = { from: ids.length - 1, span: { window, sinks: 0 } };
      return model.logits(model.forward(model.ids(task, ids), pass)).data();
    };
    const text = given.slice(0, 12);
    const changed = given.slice(0, 12);
    changed[0] = 200; // three layers with a window of 3 reach 6 tokens back
    assert.equal(await last(changed, 3), await last(text, 3));
    assert.not.equal(await last(changed, 0), await last(text, 0));
    const V = model.config.vocab_size;
    for (const id of [-1, V])
      assert.throws(() => model.ids(task, Int32Array.of(id)), /outside the model's vocabulary/);
    const hidden = model.forward(model.ids(task, Int32Array.of(1)));
    assert.throws(() => model.nll(hidden, Int32Array.of(V)), /outside the model's vocabulary/);
    using foreign = allocate(device, hidden.shape, "f32", "hidden");
    assert.throws(() => model.nll(foreign, Int32Array.of(1)), /^nll: none of its tensors belongs to a task/);
  });

  test(`${name}: a decoder continues when the tables of angles grow, and checks its ids`, async () => {
    using model = await loadModel(device, tiny);
    using other = await loadModel(device, tiny);
    using task = new Task(device);
    const first = model.positions;
    other.reserve(first + 8);
    const ids = Int32Array.from({ length: first + 4 }, (_, t) => (t * 53 + (t >> 4)) % 256);
    const read = async (one: Llama): Promise<Float32Array[]> => {
      using cache = new KVCache(device, one.config, first + 8);
      using decoder = new Decoder(task, one, cache, null);
      using _scope = task.scope();
      const found: Float32Array[] = [];
      decoder.read(ids.subarray(0, first - 2));
      for (let t = first - 2; t < ids.length; t++)
        found.push(await one.logits(decoder.read(ids.subarray(t, t + 1))).data());
      assert.throws(
        () => decoder.read(Int32Array.of(one.config.vocab_size)),
        /outside the model's vocabulary/,
      );
      return found;
    };
    const live = device.stats().liveBuffers;
    assert.equal(await read(model), await read(other));
    assert.is(model.positions, 2 * first);
    assert.is(device.stats().liveBuffers, live);
  });

  test(`${name}: a score of its own reads the context that is reused`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const constant = { ...recipe, lr: 5e-2, context_grad: false };
    using learner = new TempLora(task, model, constant, 3, { context: { capacity: 80, reuse: 3 } });
    const watch = new Stopwatch(task.meter);
    for (const span of chunkSpans(given.length, 16)) {
      const part = sequence(given, span, 16);
      const open = await score(task, model, part, learner.adapter);
      const { scores } = await learner.learn(part, part, watch);
      const nll = scores && totalOf(scores);
      const apart = Math.abs((nll ?? NaN) / open - 1); // the kept keys are of an older adapter
      const fits = span.index === 0 ? apart < 1e-6 : apart > 1e-5;
      assert.ok(fits, `chunk ${span.index}: ${nll} and ${open}`);
    }
  });

  test(`${name}: a context that is reused moves on as far as the model has positions, and no further`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using adapter = new Adapter(model, { ...recipe, dropout: 0 }, 1);
    using context = new FrozenContext(task, model, { capacity: 80, reuse: 1000 });
    const { max_position_embeddings: positions } = model.config;
    const text = Int32Array.from({ length: 2 * positions + 8 }, (_, t) => (t * 29) % 256);
    const first: number[] = [];
    for (const span of chunkSpans(text.length, 16)) {
      using _scope = task.scope();
      const { inputs, from, ...rest } = sequence(text, span, 64);
      const cache = context.prepare({ inputs, from, ...rest }, adapter);
      first.push(cache.position + cache.length);
      model.forward(model.ids(task, inputs.subarray(from)), { adapter, cache });
    }
    // The place in the text, from where the cache was filled anew because the chunk would have gone past the last position.
    let begun = 0;
    const want = [...chunkSpans(text.length, 16)].map(({ start, end }) => {
      const place = Math.max(0, start - 1);
      if (place - begun + Math.min(16, end - start) > positions) begun = place - 63;
      return place - begun;
    });
    assert.equal(first, want);
  });

  test(`${name}: a loss that is not finite leaves A and B; a restored learner is another revision`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using learner = new TempLora(task, model, recipe, 3, { context });
    const { adapter } = learner;
    const snapshot = await learner.snapshot();
    const { name: last } = adapter.parameters.specs.at(-1) ?? { name: "" };
    const { revision } = adapter;
    adapter.parameters.set(last, new Float32Array(adapter.parameters.get(last).length).fill(Infinity));
    assert.is.not(adapter.revision, revision);
    const values = await adapter.parameters.values.data();
    const part = sequence(given, { index: 0, start: 0, end: 16 }, 16);
    const learning = learner.learn(null, part, new Stopwatch(task.meter));
    assert.match(await refusal(learning), /loss is not finite/);
    assert.equal(await adapter.parameters.values.data(), values);
    const changed = adapter.revision;
    learner.restore(snapshot);
    assert.is.not(adapter.revision, changed);
    assert.equal(await adapter.parameters.values.data(), snapshot.values);
  });

  test(`${name}: a chunk's record counts only the steps that were skipped on it`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using learner = new TempLora(task, model, recipe, 3, { context });
    const { optimizer } = learner;
    const step = optimizer.step.bind(optimizer);
    const skipped: number[] = [];
    for (const span of chunkSpans(given.length, 16)) {
      optimizer.step = (lr) => {
        const { view, length } = optimizer.gradients;
        if (span.index === 1) device.write(view, new Float32Array(length).fill(NaN));
        step(lr);
      };
      const part = sequence(given, span, 16);
      skipped.push((await learner.learn(null, part, new Stopwatch(task.meter))).skipped_steps);
    }
    assert.equal(skipped, [0, recipe.epochs, 0, 0]);
    assert.is(optimizer.steps, 3 * recipe.epochs);
  });

  test(`${name}: a text of one token has the gradients that it has before others`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const plain = { ...recipes.paper, rank: 4, dropout: 0 };
    using adapter = new Adapter(model, plain, 1);
    using optimizer = new AdamW(task, adapter.parameters, plain);
    for (const { name: parameter } of adapter.parameters.specs) {
      const { length } = adapter.parameters.get(parameter);
      adapter.parameters.set(
        parameter,
        Float32Array.from({ length }, (_, i) => Math.sin(i * 7) / 8),
      );
    }
    const gradients = async (ids: number[]): Promise<Float32Array> => {
      using _scope = task.scope();
      optimizer.zeroGradients();
      const targets = Int32Array.from(ids, (_, t) => (t === 0 ? 9 : -1));
      const { result, tape } = record(task, () =>
        model.nll(model.forward(model.ids(task, Int32Array.from(ids)), { adapter }), targets),
      );
      tape.backward(result, task.tensor(Float32Array.from(ids, (_, t) => (t === 0 ? 1 : 0))));
      return await optimizer.gradients.data();
    };
    assert.ok(relativeError(await gradients([40]), await gradients([40, 77])) < 1e-5);
  });

  test(`${name}: a step that fails, or ends the text, leaves the session where it was`, async () => {
    let fails = false;
    const failing = new WaitingDevice(device, () =>
      fails ? Promise.reject(new Error("read failed")) : Promise.resolve(),
    );
    using model = await loadModel(failing, tiny);
    const sampling = { temperature: 1.1, top_k: 20 };
    const options = { chunk: 8, window: 12, recipe, sampling };
    using whole = new Session(model, options);
    using session = new Session(model, options);
    for (const one of [whole, session]) one.prefill(given.subarray(0, 5));
    while (whole.length < 20) {
      while (whole.due) await whole.learn();
      while (session.due) await session.learn();
      fails = true;
      assert.match(await refusal(session.next()), /read failed/);
      fails = false;
      assert.is(await session.next(), await whole.next(), `token ${whole.length}`);
    }
    const [end] = [await whole.next()];
    using ended = new Session(model, { ...options, stopIds: [end ?? -1] });
    await ended.restore({ ...(await session.snapshot()), options: ended.options });
    for (let again = 0; again < 2; again++) assert.is(await ended.next(), null);
    assert.is(ended.length, session.length);
  });

  test(`${name}: after a learn that failed half-way, only restoring a snapshot is allowed`, async () => {
    let reads = 0;
    const failing = new WaitingDevice(device, () => {
      reads--;
      return reads === 0 ? Promise.reject(new Error("read failed")) : Promise.resolve();
    });
    using model = await loadModel(failing, tiny);
    using session = new Session(model, { chunk: 8, window: 12, recipe });
    session.prefill(given.subarray(0, 16));
    await session.learn();
    const snapshot = await session.snapshot();
    reads = 4; // in the second step of two
    assert.match(await refusal(session.learn()), /read failed/);
    for (const step of [() => session.learn(), () => session.next(), () => session.snapshot()])
      assert.match(await refusal(step()), /failed half-way: restore\(\) a snapshot first/);
    const damaged = { ...snapshot, learnt: 99 };
    assert.match(await refusal(session.restore(damaged)), /does not fit together/);
    await session.restore(snapshot);
    using other = new Session(model, session.options);
    await other.restore(snapshot);
    const losses = async (one: Session): Promise<unknown> => (await one.learn()).train_loss;
    assert.equal(await losses(session), await losses(other));
  });

  test.after(async () => {
    assert.is(device.stats().liveBuffers, before);
    await device.close();
  });
}

test.run();
