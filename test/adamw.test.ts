/** AdamW where gradients are not finite, on each device: such a step changes nothing, is counted, and counts for nothing. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ReferenceDevice } from "./support/reference_device.ts";
import type { Device } from "../engine/device.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { Parameters } from "../engine/parameters.ts";
import { Task } from "../engine/task.ts";
import { openTestDevices } from "./support/backends.ts";
import { RefusingDevice } from "./support/faulty_device.ts";

const SIZE = 3000;
const options = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 1 };
const devices = [...(await openTestDevices()), { name: "reference", device: new ReferenceDevice() }];

/** Gradients of one step; with `spoilt`, one of them has that value. */
function gradients(step: number, spoilt?: number): Float32Array {
  return Float32Array.from({ length: SIZE }, (_, i) =>
    i === 2000 && spoilt !== undefined ? spoilt : Math.sin(i * 1.7 + step),
  );
}

/** Takes a step with each element as its gradients. Returns parameters and moments after each, and the skipped steps. */
async function train(
  device: Device,
  steps: readonly Float32Array[],
): Promise<{ states: Float32Array[][]; skipped: number }> {
  using task = new Task(device);
  using parameters = new Parameters(device, [{ name: "p", shape: [SIZE] }]);
  using optimizer = new AdamW(task, parameters, options);
  parameters.set("p", gradients(100));
  const states: Float32Array[][] = [];
  let skipped = 0;
  for (const values of steps) {
    device.write({ ...optimizer.gradients.view, length: SIZE }, values);
    optimizer.step(1e-2);
    skipped = await optimizer.skippedSteps();
    states.push(await Promise.all([parameters.values, optimizer.m, optimizer.v].map((x) => x.data())));
  }
  assert.is(optimizer.steps, steps.length - skipped);
  return { states, skipped };
}

for (const { name, device } of devices) {
  // the square of the last one overflows in f32, hence on the devices that compute
  for (const spoilt of name === "reference" ? [NaN, Infinity] : [NaN, Infinity, -Infinity, 1e30]) {
    test(`${name}: steps with a gradient of ${spoilt}`, async () => {
      const bad = gradients(1, spoilt);
      const without = await train(device, [gradients(0), gradients(1), gradients(2)]);
      const withBad = await train(device, [bad, gradients(0), bad, bad, gradients(1), gradients(2)]);
      assert.is(without.skipped, 0);
      assert.is(withBad.skipped, 3);
      assert.equal(withBad.states[2], withBad.states[1], "left as they were, to the bit");
      assert.equal(withBad.states[3], withBad.states[1]);
      assert.equal(
        [1, 4, 5].map((i) => withBad.states[i]),
        without.states,
      );
    });
  }
}

test.after(async () => {
  for (const { device } of devices) {
    assert.is(device.stats().liveBuffers, 0);
    await device.close();
  }
});

test("memory that the optimiser lacks is named", () => {
  const device = new RefusingDevice(new ReferenceDevice());
  using task = new Task(device);
  using parameters = new Parameters(device, [{ name: "p", shape: [2] }]);
  for (const [i, name] of ["gradients", "m", "v", "skipped"].entries()) {
    device.countdown = i + 1;
    assert.throws(() => new AdamW(task, parameters, options), new RegExp(`no room for adamw\\.${name}$`));
  }
});

test.run();
