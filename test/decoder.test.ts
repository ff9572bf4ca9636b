/** Captured kernel calls run again; the decoder, which is made of them, against the forward pass. */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { add } from "../engine/ops/elementwise.ts";
import { rows } from "../engine/ops/view.ts";
import { openModelFiles } from "../model/model_files.ts";
import { Decoder } from "../model/decoder.ts";
import { KVCache } from "../model/kv_cache.ts";
import { Llama } from "../model/llama.ts";
import { adapts, recipes } from "../templora/config.ts";
import { learnable } from "../templora/learnable.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";

for (const { name, device } of await openTestDevices()) {
  const task = new Task(device);
  const modelFiles = await openModelFiles(fileURLToPath(new URL("tiny-untied", goldenFolder)));
  const model = await Llama.load(device, modelFiles);
  await modelFiles.close();
  const V = model.config.vocab_size;
  const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 53) % 256);

  test(`${name}: a replay computes from the present values of its inputs, with changed parameters`, async () => {
    const before = device.stats().liveBuffers;
    {
      using scope = task.scope();
      const x = task.tensor(Float32Array.of(1, 2, 3, 4), [4]);
      const { result, replay } = task.capture(() => task.tidy(() => rows(add(x, x), { from: 2 })));
      assert.equal([...(await result.data())], [6, 8]);
      task.meter.reset();
      device.write(x.view, Float32Array.of(5, 6, 7, 8));
      replay.run({});
      assert.equal([...(await result.data())], [14, 16]);
      replay.run({ copy: { from: 0 } });
      assert.equal([...(await result.data())], [10, 12]);
      assert.is(task.meter.kernels.get("add")?.calls, 2);
      assert.throws(() => task.capture(() => task.capture(() => null)), /captured already/);
      scope.detach(result).dispose();
      replay.dispose();
    }
    assert.is(device.stats().liveBuffers, before);
  });

  for (const adapt of [null, ...adapts]) {
    test(`${name}: tokens one by one are the forward pass, ${adapt ? `through ${adapt} that learns` : "base model"}`, async () => {
      const before = device.stats().liveBuffers;
      const recipe = { ...recipes.paper, rank: 4, dropout: 0 };
      const adapter = adapt ? learnable(model, { ...recipe, adapt }, 3) : null;
      const cache = new KVCache(device, model.config, 16);
      const decoder = new Decoder(task, model, cache, adapter);
      const check = async (from: number, to: number, context: number): Promise<void> => {
        using _scope = task.scope();
        const got = await model.logits(decoder.read(ids.subarray(from, to))).data();
        const hidden = model.forward(model.ids(task, ids.subarray(context, to)), {
          adapter,
          from: to - context - 1,
        });
        const want = await model.logits(hidden).data();
        assert.is(got.length, V);
        assert.ok(relativeError(got, want) < 1e-5, `token ${to - 1}`);
      };
      for (const [from, to] of [[0, 1], [1, 2], [2, 9], [9, 10], [10, 11]] as const) await check(from, to, 0); // prettier-ignore
      const held = device.stats().liveBuffers;
      for (let i = 11; i < 16; i++) await check(i, i + 1, 0);
      assert.throws(() => decoder.read(ids.subarray(16, 17)), /capacity of 16/);
      assert.is(cache.length, 16);
      cache.clear();
      if (adapter) {
        const { name: parameter } = adapter.parameters.specs.at(-1) ?? { name: "" };
        adapter.parameters.set(
          parameter,
          new Float32Array(adapter.parameters.get(parameter).length).fill(0.1),
        );
      }
      for (let i = 4; i < 12; i++) await check(i, i + 1, 4);
      assert.is(device.stats().liveBuffers, held, "nothing grows");
      if (adapter) {
        adapter.parameters.changed();
        assert.throws(() => decoder.read(ids.subarray(12, 13)), /keys of adapter revision/);
        adapter.dispose();
      }
      decoder.dispose();
      cache.dispose();
      assert.is(device.stats().liveBuffers, before);
    });
  }

  test(`${name}: a step is captured once, and again only when the tables of angles have grown`, () => {
    using own = new Task(device);
    using cache = new KVCache(device, model.config, 16);
    using decoder = new Decoder(own, model, cache, null);
    const capture = own.capture.bind(own);
    let captures = 0;
    own.capture = (body) => {
      captures++;
      return capture(body);
    };
    const read = (from: number): number => {
      decoder.read(ids.subarray(from, from + 1));
      return captures;
    };
    assert.equal([read(0), read(1), read(2)], [1, 1, 1]);
    model.reserve(model.positions + 1);
    assert.equal([read(3), read(4)], [2, 2]);
  });

  test.after(() => {
    model.dispose();
    return device.close();
  });
}

test.run();
