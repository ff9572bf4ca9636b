/**
 * SGD, Muon, and AdamW with a rate of its own for B, against five steps of torch.optim's in float64 (test/golden/optimizers.json): relative
 * error of how far the parameters have moved.
 */
import { at, entry } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AdamW } from "../engine/optim/adamw.ts";
import { Muon, orthogonal } from "../engine/optim/muon.ts";
import type { Optimizer } from "../engine/optim/optimizer.ts";
import { SGD } from "../engine/optim/sgd.ts";
import { Parameters } from "../engine/parameters.ts";
import { Task } from "../engine/task.ts";
import { openTestDevices } from "./support/backends.ts";
import { readGolden, relativeError } from "./support/golden.ts";

type Arrays = Readonly<Record<string, readonly number[]>>;
interface Run {
  readonly settings: Readonly<Record<string, number>> & { readonly lr: number };
  readonly clip: number;
  readonly start: Arrays;
  readonly steps: readonly { readonly g: Arrays; readonly p: Arrays }[];
}
interface Golden {
  readonly shapes: Arrays;
  readonly sgd: Run;
  readonly muon: Run;
  readonly loraplus: Run;
}
const golden = readGolden<Golden>("optimizers.json");

/** Float32 arithmetic; Muon's polynomials take what is lost in singular values far below the largest up to 485 times. */
const bounds = { sgd: 2e-6, muon: 2e-4, loraplus: 2e-6 };

const makers: Readonly<
  Record<keyof typeof bounds, (task: Task, parameters: Parameters, run: Run) => Optimizer>
> = {
  sgd: (task, parameters, { settings, clip }) => new SGD(task, parameters, { ...settings, clip }),
  muon: (task, parameters, { settings, clip }) => new Muon(task, parameters, { ...settings, clip }),
  loraplus: (task, parameters, { settings, clip }) => {
    const rateOf = (name: string): number => (name.endsWith(".B") ? entry(settings, "ratio") : 1);
    return new AdamW(task, parameters, { ...settings, clip, rateOf });
  },
};

const specs = Object.entries(golden.shapes).map(([name, shape]) => ({ name, shape }));

for (const { name: device_name, device } of await openTestDevices()) {
  for (const kind of ["sgd", "muon", "loraplus"] as const) {
    const run = golden[kind];

    test(`${device_name}: ${kind} over five steps; a step that is not finite changes nothing`, async () => {
      using task = new Task(device);
      using parameters = new Parameters(device, specs);
      for (const { name } of specs) parameters.set(name, Float32Array.from(entry(run.start, name)));
      using optimizer = makers[kind](task, parameters, run);
      const put = (arrays: Arrays): void => {
        for (const { name } of specs) {
          const { grad } = parameters.get(name);
          if (grad) device.write(grad.view, Float32Array.from(entry(arrays, name)));
        }
      };
      for (const [index, { g, p }] of run.steps.entries()) {
        if (index === 3) {
          const before = await parameters.values.data();
          put(Object.fromEntries(specs.map(({ name }) => [name, entry(g, name).map(() => NaN)])));
          optimizer.step(run.settings.lr);
          assert.is(await optimizer.skippedSteps(), 1);
          assert.equal(await parameters.values.data(), before);
        }
        put(g);
        optimizer.step(run.settings.lr);
        assert.is(await optimizer.skippedSteps(), index < 3 ? 0 : 1);
        assert.is(optimizer.steps, index + 1);
        for (const { name } of specs) {
          const moved = (values: ArrayLike<number>): number[] =>
            Array.from(values, (x, i) => x - at(entry(run.start, name), i));
          const error = relativeError(moved(await parameters.get(name).data()), moved(entry(p, name)));
          assert.ok(error <= bounds[kind], `${name} after step ${index}: ${error.toExponential(2)}`);
        }
      }
    });
  }

  for (const Kind of [SGD, Muon])
    test(`${device_name}: ${Kind.name} without gradients: values lose decay · rate of themselves at each step`, async () => {
      using task = new Task(device);
      using parameters = new Parameters(device, [{ name: "p", shape: [2, 3] }]);
      using optimizer = new Kind(task, parameters, { weight_decay: 0.5, momentum: 0.9 });
      parameters.set("p", new Float32Array(6).fill(64));
      for (const left of [48, 36, 27]) {
        optimizer.step(0.5);
        assert.equal(await parameters.get("p").data(), new Float32Array(6).fill(left));
      }
    });

  test(`${device_name}: Muon's step of nothing is nothing`, async () => {
    using task = new Task(device);
    using _scope = task.scope();
    const zero = await orthogonal(task, task.tensor(new Float32Array(12), [3, 4])).data();
    assert.equal(zero, new Float32Array(12));
  });
  test.after(() => device.close());
}

test("options outside their ranges, and vectors under Muon, are refused by name", async () => {
  const [opened] = await openTestDevices();
  assert.ok(opened);
  await using device = opened.device;
  using task = new Task(device);
  using parameters = new Parameters(device, [{ name: "gain", shape: [4] }]);
  assert.throws(() => new Muon(task, parameters), /Muon: gain is no matrix/);
  assert.throws(() => new SGD(task, parameters, { momentum: 1 }), /SGD: momentum is outside its range/);
  assert.throws(() => new SGD(task, parameters, { clip: -1 }), /SGD: clip is outside its range/);
  using sgd = new SGD(task, parameters);
  assert.throws(() => sgd.step(NaN), /SGD: a learning rate of NaN/);
});

test.run();
