/**
 * Any number of sessions on one device: each has the bits that it has alone, in whatever order their steps interleave; a session
 * continues from a snapshot taken anywhere; nothing leaks when an allocation fails.
 */
import { at } from "../kernels/base/at.ts";
import { fileURLToPath } from "node:url";
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DeviceError } from "../engine/errors.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { Parameters } from "../engine/parameters.ts";
import { Task } from "../engine/task.ts";
import { openModelFiles } from "../model/model_files.ts";
import { Decoder } from "../model/decoder.ts";
import { KVCache } from "../model/kv_cache.ts";
import { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { Sampler, greedy } from "../model/sample.ts";
import { Adapter } from "../templora/adapter.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { Session } from "../templora/session.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import { openTestDevices } from "./support/backends.ts";
import { RefusingDevice, WaitingDevice } from "./support/faulty_device.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";
import { SEED } from "./support/rng.ts";

const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0.1, lr: 2e-2, warmup: 0 };

/** A text of its own for session `i`: what is given, and how many tokens are written after it. */
interface Plan {
  readonly options: GivenOptions;
  readonly given: Int32Array;
  readonly tokens: number;
}

function plan(i: number): Plan {
  const sampling = { temperature: 1.1, top_k: 20, top_p: 0.95, min_p: 0, repetition_penalty: 1.1 };
  return {
    options: {
      chunk: 8 + 2 * (i % 3),
      window: 12,
      recipe: { ...recipe, context_grad: i % 4 !== 3 },
      seed: i,
      baseline: i % 2 === 0 || i % 4 === 3,
      reuseCache: i % 3,
      checkpointLayers: i % 2,
      ...(i % 4 === 3 && { knn: 0.2, knnTokens: 12 }),
      ...(i % 2 === 1 && { sampling }),
    },
    given: Int32Array.from({ length: 6 + 5 * (i % 4) }, (_, t) => (t * (29 + i) + i * 71) % 256),
    tokens: 12,
  };
}

/** All tokens and losses of a session of this plan, step by step, with `pause` before each step. */
async function live(
  model: Llama,
  { options, given, tokens }: Plan,
  pause: () => Promise<void>,
): Promise<string[]> {
  using session = new Session(model, options);
  session.prefill(given);
  const out: string[] = [];
  while (session.length < given.length + tokens) {
    await pause();
    if (session.due) {
      const { seconds: _, ...record } = await session.learn();
      out.push(JSON.stringify(record));
    } else out.push(String(await session.next()));
  }
  const { ids, learner } = await session.snapshot();
  out.push(ids.join(), learner ? learner.values.join() : "");
  return out;
}

const noPause = (): Promise<void> => Promise.resolve();

for (const { name, device } of await openTestDevices()) {
  const quick = device.info.kind === "cpu";
  for (const sessions of [2, 8])
    test(`${name}: ${sessions} sessions at once, in any order, have the bits of each alone`, async () => {
      const before = device.stats().liveBuffers;
      const plans = Array.from({ length: sessions }, (_, i) => plan(i));
      const alone: string[][] = [];
      {
        using model = await loadModel(device, tiny);
        for (const one of plans) alone.push(await live(model, one, noPause));
      }
      const schedule = fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const pause = (): Promise<void> => scheduler.schedule(Promise.resolve());
        using model = await loadModel(new WaitingDevice(device, pause), tiny);
        const together = Promise.all(plans.map((one) => live(model, one, pause)));
        assert.equal(await scheduler.waitFor(together), alone);
      });
      await fc.assert(schedule, { numRuns: (quick ? 24 : 8) / sessions, seed: SEED });
      assert.is(device.stats().liveBuffers, before);
    });

  test(`${name}: a session continues from a snapshot taken between any two steps`, async () => {
    const before = device.stats().liveBuffers;
    {
      using model = await loadModel(device, tiny);
      for (const i of quick ? [0, 1, 3, 5, 7] : [3]) {
        const { options, given, tokens } = plan(i);
        using whole = new Session(model, options);
        whole.prefill(given);
        for (let step = 0; whole.length < given.length + tokens; step++) {
          if (step % 5 === 2) {
            using other = new Session(model, options);
            await other.restore(await whole.snapshot());
            for (let ahead = 0; ahead < 4; ahead++)
              if (other.due) await other.learn();
              else await other.next();
            using again = new Session(model, options);
            await again.restore(await whole.snapshot());
            for (let ahead = 0; ahead < 4; ahead++)
              if (again.due) await again.learn();
              else await again.next();
            assert.equal(again.ids, other.ids);
          }
          if (whole.due) await whole.learn();
          else await whole.next();
        }
      }
    }
    assert.is(device.stats().liveBuffers, before);
  });

  test(`${name}: the steps after a snapshot are those of the session that it was taken of`, async () => {
    using model = await loadModel(device, tiny);
    for (const i of [1, 2, 7]) {
      const { options, given } = plan(i);
      using whole = new Session(model, options);
      whole.prefill(given);
      const step = async (session: Session): Promise<string> =>
        session.due ? JSON.stringify((await session.learn()).train_loss) : String(await session.next());
      for (let n = 0; n < 9; n++) await step(whole);
      using other = new Session(model, options);
      await other.restore(await whole.snapshot());
      for (let n = 0; n < 12; n++) assert.is(await step(other), await step(whole), `session ${i}, step ${n}`);
    }
  });

  test(`${name}: one step at a time; scopes end in order; tasks do not mix`, async () => {
    using model = await loadModel(device, tiny);
    using session = new Session(model, plan(0).options);
    session.prefill(plan(0).given);
    const first = session.next();
    let error: unknown;
    await session.next().catch((caught: unknown) => (error = caught));
    assert.match(String(error), /next\(\) was called while next\(\) runs/);
    await first;
    using task = new Task(device);
    const outer = task.scope();
    const inner = task.scope();
    assert.throws(() => outer[Symbol.dispose](), /out of order/);
    inner[Symbol.dispose]();
    outer[Symbol.dispose]();
    using other = new Task(device);
    const places = task.tensor(Int32Array.of(0));
    assert.throws(
      () => model.forward(model.ids(other, Int32Array.of(1)), { positions: places }),
      /two tasks/,
    );
  });

  test(`${name}: keys of one adapter are refused with another, and with other values of the same`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using one = new Adapter(model, recipe, 1);
    using two = new Adapter(model, recipe, 1);
    using cache = new KVCache(device, model.config, 8);
    const read = (adapter: Adapter): unknown =>
      model.forward(model.ids(task, Int32Array.of(3)), { adapter, cache });
    read(one);
    assert.throws(() => read(two), /adapter revision/);
    one.parameters.changed();
    assert.throws(() => read(one), /adapter revision/);
    cache.clear();
    read(one);
    assert.throws(() => model.forward(model.ids(task, Int32Array.of(3)), { cache }), /adapter revision/);
  });

  test(`${name}: a decoder follows the values of its adapter`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using adapter = new Adapter(model, { ...recipe, dropout: 0 }, 1);
    using cache = new KVCache(device, model.config, 8);
    using decoder = new Decoder(task, model, cache, adapter);
    const ids = Int32Array.of(9, 4, 77, 3);
    for (const size of [0, 1 / 8, 1 / 4]) {
      for (const { name: parameter } of adapter.parameters.specs) {
        const { length } = adapter.parameters.get(parameter);
        const values = Float32Array.from({ length }, (_, i) => size * Math.sin(i * 7));
        adapter.parameters.set(parameter, values);
      }
      cache.clear();
      using _scope = task.scope();
      const whole = await model.logits(model.forward(model.ids(task, ids), { adapter, from: 3 })).data();
      let last = new Float32Array();
      for (let t = 0; t < ids.length; t++)
        last = await model.logits(decoder.read(ids.subarray(t, t + 1))).data();
      assert.ok(relativeError(last, whole) < 1e-5, `A and B up to ${size}`);
    }
  });

  test(`${name}: keys kept unrotated give what turned keys give`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const ids = Int32Array.from({ length: 12 }, (_, i) => (i * 53) % 256);
    const logits: Float32Array[] = [];
    for (const unrotated of [false, true]) {
      using cache = new KVCache(device, model.config, 12, { unrotated });
      using decoder = new Decoder(task, model, cache, null);
      using _scope = task.scope();
      decoder.read(ids.subarray(0, 6));
      for (let t = 6; t < 11; t++) decoder.read(ids.subarray(t, t + 1));
      logits.push(await model.logits(decoder.read(ids.subarray(11))).data());
    }
    assert.ok(relativeError(at(logits, 1), at(logits, 0)) < 1e-5);
  });

  test(`${name}: positions are an input: shifted by the same for all, they change nothing`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const ids = Int32Array.from({ length: 12 }, (_, i) => (i * 53) % 256);
    const at = (shift: number): Promise<Float32Array> =>
      model.logits(model.forward(model.ids(task, ids), { positions: ids.map((_, t) => t + shift) })).data();
    const beyond = model.config.max_position_embeddings + 100; // positions that the model was not made for are the caller's choice
    for (const shift of [5, beyond]) assert.ok(relativeError(await at(shift), await at(0)) < 1e-3);
  });

  test(`${name}: nothing leaks, whichever allocation of a constructor or a step fails`, async () => {
    const live = device.stats().liveBuffers;
    const refusing = new RefusingDevice(device);
    const modelFiles = await openModelFiles(tiny);
    const load = (): Promise<Llama> => Llama.load(refusing, modelFiles);
    {
      using model = await load();
      using task = new Task(refusing);
      const specs = [{ name: "a", shape: [3, 5] }, { name: "b", shape: [70] }]; // prettier-ignore
      using parameters = new Parameters(refusing, specs);
      using cache = new KVCache(refusing, model.config, 8);
      const made: readonly (readonly [string, () => Disposable | Promise<Disposable | void>])[] = [
        ["Llama", load],
        ["Parameters", () => new Parameters(refusing, specs)],
        ["AdamW", () => new AdamW(task, parameters, recipe)],
        ["Adapter", () => new Adapter(model, recipe, 1)],
        ["KVCache", () => new KVCache(refusing, model.config, 8)],
        ["Decoder", () => new Decoder(task, model, cache, null)],
        ["Sampler", () => new Sampler(task, greedy, 0, [1], 4)],
        ["Session", () => new Session(model, { chunk: 8, window: 8, recipe })],
        ["Session without context_grad", () => new Session(model, { chunk: 8, window: 8, recipe: { ...recipe, context_grad: false } })], // prettier-ignore
        ["Session with an anchor and an average", () => new Session(model, { chunk: 8, window: 8, recipe: { ...recipe, context_grad: false, kl: 1, ema: 0.5 } })], // prettier-ignore
        ["RoPE's tables", async () => { using fresh = await load(); fresh.reserve(100_000); }], // prettier-ignore
        [
          "learn",
          async () => {
            using session = new Session(model, { chunk: 8, window: 8, recipe });
            session.prefill(Int32Array.from({ length: 8 }, (_, t) => t));
            await session.learn();
          },
        ],
      ];
      for (const [what, make] of made) {
        const before = device.stats().liveBuffers;
        for (let nth = 1; ; nth++) {
          refusing.countdown = nth;
          try {
            const whole = await make();
            if (whole) whole[Symbol.dispose]();
            refusing.countdown = 0;
            assert.ok(nth > 1, `${what} allocates`);
            break;
          } catch (error) {
            if (!(error instanceof DeviceError)) throw error;
            assert.is(device.stats().liveBuffers, before, `${what}, allocation ${nth} refused`);
          }
        }
      }
    }
    await modelFiles.close();
    assert.is(device.stats().liveBuffers, live);
  });

  test.after(() => device.close());
}

test.run();
