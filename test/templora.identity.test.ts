/**
 * What must hold of an adapter exactly: fresh = no-op, without it = base, disposal restores the base's bits, and nothing but A
 * and B ever changes.
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import { openModelFiles } from "../model/model_files.ts";
import { type LinearAdapter, Llama } from "../model/llama.ts";
import { Adapter } from "../templora/adapter.ts";
import { bosOf, chunkSpans, sequence } from "../templora/chunks.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { readText } from "../templora/api.ts";
import type { Keeper, Kept } from "../templora/keeping.ts";
import { Stopwatch } from "../templora/stopwatch.ts";
import { score, totalOf } from "../templora/scoring.ts";
import { TempLora } from "../templora/trainer.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";

const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 8, dropout: 0, lr: 5e-3, warmup: 0 };
const ids = Int32Array.from({ length: 96 }, (_, i) => (i * 37 + (i >> 3) * 11) % 256);

for (const { name, device } of await openTestDevices()) {
  const task = new Task(device);
  const modelFiles = await openModelFiles(fileURLToPath(new URL("tiny-untied", goldenFolder)));
  const model = await Llama.load(device, modelFiles);
  await modelFiles.close();

  const logits = async (adapter: LinearAdapter | null): Promise<Float32Array> => {
    using _scope = task.scope();
    return await model.logits(model.forward(model.ids(task, ids), { adapter })).data();
  };
  const randomise = (adapter: Adapter): void => {
    adapter.parameters.specs.forEach(({ name: parameter }, i) => {
      const { length } = adapter.parameters.get(parameter);
      const values = uniforms(99, stream(Purpose.init, i), 0, length).map((u) => (u - 0.5) / 4);
      adapter.parameters.set(parameter, Float32Array.from(values));
    });
  };
  const weightBits = async (): Promise<Float32Array[]> => {
    const { embed_tokens, lm_head, norm, layers } = model.weights;
    const all = [embed_tokens, lm_head, norm, ...layers.flatMap((l) => Object.values(l))];
    return Promise.all(all.map((w) => w.data()));
  };

  test(`${name}: a fresh adapter is an exact no-op`, async () => {
    const adapter = new Adapter(model, recipe, 1);
    assert.equal(await logits(adapter), await logits(null));
    adapter.dispose();
  });

  test(`${name}: beside an adapter, and after its disposal, the base model has the bits that it had`, async () => {
    const [base, weights] = [await logits(null), await weightBits()];
    const adapter = new Adapter(model, recipe, 1);
    randomise(adapter);
    const adapted = await logits(adapter);
    assert.ok(relativeError(adapted, base) > 1e-3, "A and B take part");
    assert.equal(await logits(null), base);
    assert.equal(await logits(adapter), adapted);
    adapter.dispose();
    assert.equal(await logits(null), base);
    assert.equal(await weightBits(), weights);
  });

  test(`${name}: a session without an adapter scores what the base model does, bit for bit`, async () => {
    const options = { chunk: 32, window: 32, recipe };
    const losses: number[] = [];
    for await (const { base_nll, lora_nll } of readText(model, ids, { ...options, templora: false })) {
      assert.is(lora_nll, null);
      losses.push(base_nll ?? NaN);
    }
    const parts = [...chunkSpans(ids.length, 32)].map((span) =>
      sequence(ids, span, 32, bosOf(ids, model.config)),
    );
    assert.is(losses.length, parts.length);
    for (const [i, part] of parts.entries()) assert.is(losses[i], await score(task, model, part, null));
    const beside: (number | null)[] = [];
    for await (const { base_nll } of readText(model, ids, options)) beside.push(base_nll);
    assert.equal(beside, losses, "an adapter that learns changes nothing of it");
  });

  test(`${name}: training changes A and B and nothing else; every gradient is non-zero after two steps`, async () => {
    const live = device.stats().liveBuffers;
    const weights = await weightBits();
    const base = await logits(null);
    const learner = new TempLora(task, model, recipe, 3, { context: { capacity: 80, reuse: 0 } });
    const watch = new Stopwatch(task.meter);
    for (const span of chunkSpans(ids.length, 48))
      await learner.learn(null, sequence(ids, span, 32, bosOf(ids, model.config)), watch);
    for (const { name: parameter } of learner.adapter.parameters.specs) {
      const { grad } = learner.adapter.parameters.get(parameter);
      assert.ok(grad && (await grad.data()).some((g) => g !== 0), `${parameter} has no gradient`);
    }
    assert.ok(relativeError(await logits(learner.adapter), base) > 1e-4, "the adapter learnt something");
    learner.dispose();
    assert.equal(await weightBits(), weights);
    assert.equal(await logits(null), base);
    assert.is(device.stats().liveBuffers, live);
  });

  test(`${name}: a chunk is scored before it is trained on`, async () => {
    const learner = new TempLora(task, model, { ...recipe, lr: 5e-2 }, 3, {
      context: { capacity: 80, reuse: 0 },
    });
    const spans = [...chunkSpans(ids.length, 48)];
    const watch = new Stopwatch(task.meter);
    for (const span of spans) {
      const part = sequence(ids, span, 32, bosOf(ids, model.config));
      const before = await score(task, model, part, learner.adapter);
      const { scores } = await learner.learn(part, part, watch);
      const nll = scores && totalOf(scores);
      const after = await score(task, model, part, learner.adapter);
      assert.is(nll, before);
      assert.ok(after < before, `training on chunk ${span.index} lowered its loss: ${before} to ${after}`);
    }
    learner.dispose();
  });

  test(`${name}: checkpointed layers change no bit, dropout included, and need less memory`, async () => {
    const run = async (
      layers: number,
      context_grad: boolean,
    ): Promise<{ values: Float32Array; peak: number }> => {
      const learner = new TempLora(task, model, { ...recipe, dropout: 0.2, context_grad }, 3, {
        context: { capacity: 80, reuse: 0 },
        checkpointLayers: layers,
      });
      const watch = new Stopwatch(task.meter);
      let peak = 0;
      const step = task.device.run.bind(task.device);
      task.device.run = (call) => {
        peak = Math.max(peak, task.device.stats().liveBytes);
        step(call);
      };
      try {
        for (const span of chunkSpans(ids.length, 48)) {
          const part = sequence(ids, span, 32, bosOf(ids, model.config));
          await learner.learn(part, part, watch);
        }
        return { values: await learner.adapter.parameters.values.data(), peak };
      } finally {
        task.device.run = step;
        learner.dispose();
      }
    };
    for (const context_grad of [true, false]) {
      const plain = await run(0, context_grad);
      for (const layers of [1, 2, 3]) {
        const { values, peak } = await run(layers, context_grad);
        assert.equal(values, plain.values, `${layers} layers`);
        assert.ok(peak < plain.peak, `${layers} layers: ${peak} bytes, ${plain.peak} without`);
      }
    }
  });

  test(`${name}: a constant context scores as an open one does`, async () => {
    const learner = new TempLora(task, model, { ...recipe, context_grad: false }, 3, {
      context: { capacity: 80, reuse: 0 },
    });
    const watch = new Stopwatch(task.meter);
    for (const span of chunkSpans(ids.length, 48)) {
      const part = sequence(ids, span, 32, bosOf(ids, model.config));
      const open = await score(task, model, part, learner.adapter);
      const { scores } = await learner.learn(part, part, watch);
      const nll = scores && totalOf(scores);
      assert.ok(Math.abs((nll ?? NaN) / open - 1) < 1e-6, `${nll} against ${open}`);
    }
    learner.dispose();
  });

  test(`${name}: with reused keys a run continues from wherever it stopped with the bits of an uninterrupted one`, async () => {
    const text = Int32Array.from({ length: 8 * 16 }, (_, i) => (i * 29 + (i >> 3) * 5) % 256);
    const options = {
      ...{ chunk: 16, window: 24, trainWindow: 24, seed: 1, baseline: true, templora: true, reuseCache: 2 },
      recipe: { ...recipe, context_grad: false },
    };
    const points: Kept[] = [];
    const keeper: Keeper = {
      earlier: null,
      point: async (take) => void points.push(await take()),
      stop: () => Promise.resolve(),
    };
    const losses = async (keeping: Keeper): Promise<(number | null)[][]> => {
      const found = keeping.earlier?.records.map((r) => [r.base_nll, r.lora_nll]) ?? [];
      for await (const record of readText(model, text, { ...options, keeper: keeping }))
        found.push([record.base_nll, record.lora_nll]);
      return found;
    };
    const whole = await losses(keeper);
    assert.is(points.length, 9);
    for (const earlier of [...points]) assert.equal(await losses({ ...keeper, earlier }), whole);
  });

  test(`${name}: reading, live buffers and bytes are flat from chunk 3 to chunk 12, and nothing is left`, async () => {
    const before = device.stats().liveBuffers;
    const long = Int32Array.from({ length: 13 * 32 }, (_, i) => (i * 31 + (i >> 4) * 7) % 256);
    const options = { chunk: 32, window: 32, trainWindow: 32, seed: 1, baseline: true, templora: true };
    const seen: string[] = [];
    let pipelines = 0;
    for await (const { index } of readText(model, long, { ...options, recipe })) {
      const stats = device.stats();
      if (index >= 3) seen.push(`${stats.liveBuffers} buffers, ${stats.liveBytes} bytes`);
      if (index === 3) ({ pipelines } = stats);
      else if (index > 3) assert.is(stats.pipelines, pipelines);
    }
    assert.is(seen.length, 10);
    assert.is(new Set(seen).size, 1, [...new Set(seen)].join("; "));
    assert.is(device.stats().liveBuffers, before);
  });

  test(`${name}: the same seed gives the same bits, dropout included; another seed does not`, async () => {
    const run = async (seed: number): Promise<Float32Array> => {
      const learner = new TempLora(task, model, { ...recipe, dropout: 0.2 }, seed, {
        context: { capacity: 80, reuse: 0 },
      });
      const watch = new Stopwatch(task.meter);
      for (const span of chunkSpans(ids.length, 48))
        await learner.learn(null, sequence(ids, span, 32, bosOf(ids, model.config)), watch);
      const values = await learner.adapter.parameters.values.data();
      learner.dispose();
      return values;
    };
    const first = await run(5);
    assert.equal(await run(5), first);
    assert.ok(relativeError(await run(6), first) > 1e-3);
  });

  test.after(() => {
    model.dispose();
    return device.close();
  });
}

test.run();
