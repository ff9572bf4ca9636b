/**
 * What the webgpu device does when the GPU refuses a buffer or a pipeline, at once or later: it throws a clear error, frees what
 * it had taken, and stays usable.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type WebGpuDevice, openWebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import { DeviceError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { attention_backward } from "../kernels/attention/attention_backward.ts";
import { type Shape, elements } from "../kernels/base/shape.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const tests = suite("webgpu faults");
const test = unless(noWebGpu, tests);

/** A product, and a kernel that takes buffers of its own; results are copied back. */
function workOn(device: WebGpuDevice) {
  const task = new Task(device);
  const make = (shape: Shape): Tensor =>
    task.tensor(
      Float32Array.from({ length: elements(shape) }, (_, i) => Math.sin(i * 1.7)),
      shape,
    );
  const [T, H, D] = [40, 2, 16];
  const small = { a: make([7, 50]), w: make([9, 50]) };
  const head = { q: make([T, H, D]), dy: make([T, H, D]), k: make([T, 1, D]), v: make([T, 1, D]) };
  const large = { ...head, lse: make([T, H]), delta: make([T, H]) };
  const params = { past: 0, window: 0, sinks: 0, frozen: 0, scale: 0.25, softcap: 0 };
  return {
    product: async (): Promise<Float32Array> => {
      using _scope = task.scope();
      return await task.run(matmul_nt, small, { alpha: 1 }).c.data();
    },
    gradients: async (): Promise<Float32Array[]> => {
      using _scope = task.scope();
      const { dq, dk, dv } = task.run(attention_backward, large, params);
      const results: Float32Array[] = [];
      for (const tensor of [dq, dk, dv]) results.push(await tensor.data());
      return results;
    },
  };
}

/** Spoils the `nth` call of a method of every GPUDevice while `body` runs; returns how many calls there were. */
async function spoiling<Method extends "createBuffer" | "createShaderModule" | "createComputePipeline">(
  method: Method,
  nth: number,
  spoil: (original: (descriptor: object) => unknown, descriptor: object) => unknown,
  body: () => Promise<unknown>,
): Promise<number> {
  const methods = GPUDevice.prototype as unknown as Record<Method, (descriptor: object) => unknown>;
  const original = methods[method];
  let calls = 0;
  methods[method] = function (this: unknown, descriptor) {
    return ++calls === nth ? spoil(original.bind(this), descriptor) : original.call(this, descriptor);
  };
  try {
    await body();
  } finally {
    methods[method] = original;
  }
  return calls;
}

async function failure(body: () => Promise<unknown>): Promise<unknown> {
  return body().then(
    () => undefined,
    (error: unknown) => error ?? new Error("nothing"),
  );
}

const refusals = {
  "at once": () => {
    throw new RangeError("refused");
  },
  later: (original: (descriptor: object) => unknown, descriptor: object) =>
    original({ ...descriptor, size: 2 ** 50 }),
};

for (const [when, refuse] of Object.entries(refusals)) {
  test(`a buffer that is refused ${when}, whichever it is, leaves everything as it was`, async () => {
    await using roomy = await openWebGpuDevice({ tuned: {} });
    const expected = workOn(roomy);
    const [product, gradients] = [await expected.product(), await expected.gradients()];

    let nth = 0;
    for (let calls = 0; calls >= nth;) {
      nth++;
      await using device = await openWebGpuDevice({ tuned: {} });
      const { product: again, gradients: attempt } = workOn(device);
      assert.equal(await again(), product);
      const { liveBuffers, liveBytes } = device.stats();
      let error: unknown;
      calls = await spoiling("createBuffer", nth, refuse, async () => {
        error = await failure(async () => assert.equal(await attempt(), gradients));
      });
      if (calls < nth) assert.is(error, undefined);
      else assert.ok(error instanceof DeviceError || error instanceof RangeError, String(error));
      const stats = device.stats();
      assert.equal([stats.liveBuffers, stats.liveBytes], [liveBuffers, liveBytes]);
      assert.equal(await again(), product);
      assert.equal(await attempt(), gradients);
    }
    assert.ok(nth > 5, `${nth - 1} buffers: outputs, scratch and copies`);
  });

  test(`a device whose own buffer is refused ${when} does not open, and the next one does`, async () => {
    let error: unknown;
    await spoiling("createBuffer", 1, refuse, async () => {
      error = await failure(() => openWebGpuDevice({ tuned: {} }));
    });
    assert.ok(error instanceof DeviceError || error instanceof RangeError, String(error));
    await using device = await openWebGpuDevice({ tuned: {} });
    assert.is((await workOn(device).product()).length, 63);
  });
}

test("a pipeline that is refused, at once or later, is made anew by the next call", async () => {
  await using device = await openWebGpuDevice({ tuned: {} });
  const { product } = workOn(device);
  const atOnce = refusals["at once"];
  let error: unknown;
  await spoiling("createComputePipeline", 1, atOnce, async () => {
    error = await failure(product);
  });
  assert.match((error as Error).message, /refused/);
  const broken = (original: (descriptor: object) => unknown, descriptor: object): unknown =>
    original({ ...descriptor, code: "no shader" });
  await spoiling("createShaderModule", 1, broken, async () => {
    error = await failure(product);
  });
  assert.instance(error, DeviceError);
  assert.match((error as Error).message, /\.wgsl:\d+:\d+: /);
  assert.is((await product()).length, 63);
  const { pipelines } = device.stats();
  await product();
  assert.is(device.stats().pipelines, pipelines);
});

tests.run();
