/**
 * AdamW against ten steps of torch.optim.AdamW in float64 (test/golden/adamw.json). The bound is the error of float32 arithmetic
 * with exact settings; forming 1 − β₂ in float32 makes it six times as large.
 */
import { at } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AdamW, type AdamWOptions } from "../engine/optim/adamw.ts";
import { Parameters } from "../engine/parameters.ts";
import { Task } from "../engine/task.ts";
import { openTestDevices } from "./support/backends.ts";
import { readGolden, relativeError } from "./support/golden.ts";

const BOUND = 2e-6;

interface Golden extends AdamWOptions {
  readonly lr: number;
  readonly start: readonly number[];
  readonly steps: readonly Readonly<Record<"g" | "p" | "m" | "v", readonly number[]>>[];
}
const golden = readGolden<Golden>("adamw.json");
const { start, steps, lr } = golden;

for (const { name, device } of await openTestDevices()) {
  test(`${name}: parameters and both moments over ten steps`, async () => {
    const task = new Task(device);
    const parameters = new Parameters(device, [{ name: "p", shape: [start.length] }]);
    parameters.set("p", Float32Array.from(start));
    const optimizer = new AdamW(task, parameters, golden);
    const p = parameters.get("p");
    assert.ok(p.grad);
    for (const [index, step] of steps.entries()) {
      device.write(p.grad.view, Float32Array.from(step.g));
      optimizer.step(lr);
      const within = (what: string, got: Iterable<number>, want: readonly number[]): void => {
        const error = relativeError([...got].slice(0, want.length), want); // the moments have padding
        assert.ok(error <= BOUND, `${what} after step ${index}: relative error ${error.toExponential(2)}`);
      };
      const moved = (values: ArrayLike<number>): number[] => Array.from(values, (x, i) => x - at(start, i));
      within("v", await optimizer.v.data(), step.v);
      within("m", await optimizer.m.data(), step.m);
      within("p − start", moved(await p.data()), moved(step.p));
    }
    optimizer.dispose();
    parameters.dispose();
  });
  test.after(() => device.close());
}

test.run();
