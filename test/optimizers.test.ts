/** A recipe's optimiser and B's own rate: what is learnt is what the optimiser itself makes of the gradients; a session goes on from its state. */
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Muon } from "../engine/optim/muon.ts";
import type { Optimizer } from "../engine/optim/optimizer.ts";
import { SGD } from "../engine/optim/sgd.ts";
import { Parameters } from "../engine/parameters.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { entry } from "../kernels/base/at.ts";
import { Adapter } from "../templora/adapter.ts";
import { sequence } from "../templora/chunks.ts";
import { type Recipe, optimizerNames, recipes } from "../templora/config.ts";
import { Session, loadModel } from "../templora/index.ts";
import { makeOptimizer } from "../templora/optimizers.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";

const test = suite("optimizers");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const ids = Int32Array.from({ length: 96 }, (_, t) => (t * 29 + (t >> 3) * 5) % 256);
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0, lr: 1e-2, warmup: 0, epochs: 1 };
const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

for (const { name, device } of devices) {
  test(`${name}: the first step of sgd is −rate · gradient, and of each optimiser that rate times the ratio for B`, async () => {
    using model = await loadModel(device, tiny);
    const learnt = async (changes: Partial<Recipe>) => {
      using session = new Session(model, {
        chunk: 24,
        window: 24,
        recipe: { ...recipe, clip: 0, ...changes },
      });
      session.prefill(ids.subarray(0, 24));
      await session.learn();
      return (await session.storedAdapter()).values;
    };
    using task = new Task(device);
    using adapter = new Adapter(model, recipe, 0);
    using _gradients = adapter.parameters.accumulateIn(
      task.tensor(new Float32Array(adapter.parameters.values.length), adapter.parameters.values.shape),
    );
    const { inputs, from, targets } = sequence(ids, { index: 0, start: 0, end: 24 }, 24);
    using _scope = task.scope();
    const { result, tape } = record(task, () =>
      model.nll(model.forward(model.ids(task, inputs), { adapter, from, step: 0 }), targets),
    );
    using _tape = tape;
    tape.backward(result, task.tensor(new Float32Array(23).fill(1 / 23), [23]));
    const one = await learnt({ optimizer: "sgd" });
    for (const [parameter, values] of one) {
      const { grad } = adapter.parameters.get(parameter);
      const gradient = Array.from((await grad?.data()) ?? []);
      if (parameter.endsWith(".A"))
        assert.ok(
          gradient.every((g) => g === 0),
          "B is 0",
        );
      else
        assert.ok(
          relativeError(
            values,
            gradient.map((g) => -recipe.lr * g),
          ) < 1e-5,
          parameter,
        );
    }
    for (const optimizer of optimizerNames) {
      const [equal, ratio] = [await learnt({ optimizer }), await learnt({ optimizer, loraplus_lr_ratio: 4 })];
      const B = "layers.0.q_proj.B";
      const times = Array.from(entry(Object.fromEntries(equal), B), (x) => 4 * x);
      assert.ok(relativeError(entry(Object.fromEntries(ratio), B), times) < 1e-6, optimizer);
    }
  });

  test(`${name}: beta1 is the momentum of sgd and of muon`, async () => {
    using task = new Task(device);
    using _scope = task.scope();
    for (const [optimizer, make] of [
      ["sgd", (parameters: Parameters) => new SGD(task, parameters, { ...recipe, momentum: 0.25 })],
      ["muon", (parameters: Parameters) => new Muon(task, parameters, { ...recipe, momentum: 0.25 })],
    ] as const) {
      const stepped = async (of: (parameters: Parameters) => Optimizer): Promise<Float32Array> => {
        using parameters = new Parameters(device, [{ name: "p", shape: [4, 4] }]);
        using made = of(parameters);
        for (const turn of [1, 2]) {
          const gradients = Float32Array.from({ length: made.gradients.length }, (_, i) =>
            Math.sin(i * turn),
          );
          device.write(made.gradients.view, gradients);
          made.step(0.1);
        }
        return await parameters.get("p").data();
      };
      const config = { ...recipe, optimizer, beta1: 0.25 };
      assert.equal(
        await stepped((parameters) => makeOptimizer(task, parameters, config)),
        await stepped(make),
      );
    }
  });

  for (const optimizer of optimizerNames)
    test(`${name}: ${optimizer} goes on from a state as if it had not stopped, with a guard, too`, async () => {
      using model = await loadModel(device, tiny);
      const options = {
        chunk: 24,
        window: 24,
        recipe: { ...recipe, optimizer, loraplus_lr_ratio: 2, guard: 1e-3, lr: 0.1 },
      };
      const finish = async (session: Session) => {
        const records = [];
        while (session.due) records.push(await session.learn());
        const { learner } = await session.snapshot();
        return {
          undone: records.map(({ undone }) => undone),
          nll: records.map(({ lora_nll }) => lora_nll),
          learner,
        };
      };
      using whole = new Session(model, options);
      whole.prefill(ids);
      await whole.learn();
      await whole.learn();
      const snapshot = await whole.snapshot();
      const wanted = await finish(whole);
      using second = new Session(model, options);
      await second.restore(snapshot);
      const got = await finish(second);
      assert.equal(got, wanted);
      assert.is(snapshot.learner?.v.length, optimizer === "adamw" ? snapshot.learner?.m.length : 0);
      const { learner } = snapshot;
      assert.ok(learner);
      assert.is(learner.v.length, optimizer === "adamw" ? learner.m.length : 0);
      const damaged = { ...snapshot, learner: { ...learner, v: new Float32Array(7) } };
      const error = await second.restore(damaged).catch((reason: unknown) => String(reason));
      assert.match(String(error), /do not fit together/);
    });
}

test.run();
