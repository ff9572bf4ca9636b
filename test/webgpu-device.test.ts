/** The WebGPU device opens, computes, reports errors in words, and lets the process end by itself. */
import { entry } from "../kernels/base/at.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import { openWebGpu } from "../engine/backends/webgpu/device.ts";
import { DeviceError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import { kernels } from "../kernels/index.ts";
import type { PlanContext } from "../kernels/kernel.ts";
import { openLeastGpu } from "./support/least_gpu.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const tests = suite("webgpu device");
const test = unless(noWebGpu, tests);

test("opens, runs a shader, reads its result, closes", async () => {
  const { device, faults, destroy } = await openWebGpu();
  const module = device.createShaderModule({
    code: `@group(0) @binding(0) var<storage, read_write> x: array<u32>;
           @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { x[id.x] = id.x * id.x; }`,
  });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const size = 128 * Uint32Array.BYTES_PER_ELEMENT;
  const storage = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: storage } }],
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.dispatchWorkgroups(2);
  pass.end();
  encoder.copyBufferToBuffer(storage, 0, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const values = new Uint32Array(staging.getMappedRange().slice(0));
  staging.unmap();
  assert.equal([values[0], values[7], values[127]], [0, 49, 127 * 127]);
  await faults.settle();
  destroy();
});

test("has the adapter's own limits and features, and is no null backend", async () => {
  const { device, adapter, destroy } = await openWebGpu();
  assert.ok(adapter.vendor.length > 0);
  assert.ok(entry(adapter.limits, "maxStorageBuffersPerShaderStage") > 8, "more than the default limit of 8");
  assert.is(device.limits.maxStorageBuffersPerShaderStage, adapter.limits.maxStorageBuffersPerShaderStage);
  for (const feature of adapter.features) assert.ok(device.features.has(feature));
  destroy();
});

test("a device on an adapter of WebGPU's least limits and no features has these, and computes what a product is", async () => {
  for (const hardware of [false, true]) {
    await using device = await openLeastGpu({ hardware });
    const { limits } = device.adapter;
    assert.equal(
      [
        entry(limits, "maxStorageBufferBindingSize"),
        entry(limits, "maxStorageBuffersPerShaderStage"),
        entry(limits, "maxComputeWorkgroupStorageSize"),
        entry(limits, "maxComputeInvocationsPerWorkgroup"),
      ],
      [2 ** 27, 8, 16384, 256],
    );
    assert.equal(device.limits, { buffer: 2 ** 28, binding: 2 ** 27 });
    assert.equal(device.info.facts["features"], []);
    using task = new Task(device);
    const x = task.tensor(new Float32Array(64 * 64).fill(1), [64, 64]);
    const { c } = task.run(kernels.matmul_nt, { a: x, w: x }, { alpha: 0.5 });
    assert.equal(await c.data(), new Float32Array(64 * 64).fill(32));
  }
});

test("a device says which adapter it is, and with profile: true how long each kernel took, as far as the adapter tells", async () => {
  await using device = await openWebGpuDevice({ profile: true });
  const { description, facts } = device.info;
  const { vendor, device: model, description: own, features } = facts;
  assert.match(description, /^webgpu: ./);
  assert.ok([vendor, model, own].includes(description.replace("webgpu: ", "")));
  using task = new Task(device);
  using x = task.lasting([64], "f32", "x");
  device.write(x.view, new Float32Array(64).fill(1));
  for (let i = 0; i < 3; i++)
    device.run({ kernel: kernels.fill, slots: { y: x.view }, dims: { N: 64 }, params: { value: i } });
  await x.data();
  const times = [...(await device.profile()).values()];
  const told = (features as readonly string[]).includes("timestamp-query");
  assert.is(
    times.reduce((sum, { calls }) => sum + calls, 0),
    told ? 3 : 0,
  );
  for (const { ms } of times) assert.ok(ms >= 0);
});

test("an error outside of every error scope is a DeviceError, once, with Dawn's words", async () => {
  const { device, faults, destroy } = await openWebGpu();
  device.createBuffer({ size: 2 ** 50, usage: GPUBufferUsage.STORAGE, label: "too big" });
  await device.queue.onSubmittedWorkDone();
  const error = await faults.settle().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, DeviceError);
  assert.match((error as DeviceError).message, /exceeds the max buffer size/);
  await faults.settle();
  destroy();
});

test("after destroy() the device says that it is closed", async () => {
  const { faults, destroy } = await openWebGpu();
  destroy();
  assert.throws(() => faults.assertAlive(), /closed/);
});

test('adapter: "hardware" refuses an adapter that computes on the CPU', async () => {
  const { adapter, destroy } = await openWebGpu();
  destroy();
  const outcome = await openWebGpu({ adapter: "hardware" }).then(
    (opened) => opened.destroy(),
    (reason: unknown) => reason,
  );
  if (adapter.software) assert.match((outcome as DeviceError).message, /computes on the CPU/);
  else assert.is(outcome, undefined);
});

test("many devices one after the other leave the process alive and small", async () => {
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 10; i++) (await openWebGpu()).destroy();
  assert.ok(process.memoryUsage().rss - before < 300 * 2 ** 20);
});

test("plans are told of the adapter's subgroups where they have one size, and of what was tuned, also later", async () => {
  await using device = await openWebGpuDevice({ tuned: {} });
  const contexts: PlanContext[] = [];
  const { spec } = kernels.fill;
  const webgpu: typeof spec.webgpu = (dims, params, context) => {
    contexts.push(context);
    return spec.webgpu(dims, params, context);
  };
  using task = new Task(device);
  const watched = { ...kernels.fill, spec: { ...spec, webgpu } };
  const run = (length: number): unknown =>
    task.run(watched, {}, { value: 1 }, { into: { y: task.empty([length]) } });
  run(4);
  device.retune({ "some key": "some tile" });
  run(5);
  const { device: raw, destroy } = await openWebGpu();
  const { subgroupMinSize, subgroupMaxSize } = raw.adapterInfo;
  const single = raw.features.has("subgroups") && subgroupMinSize === subgroupMaxSize;
  destroy();
  const subgroupSize = single ? subgroupMinSize : undefined;
  assert.equal(
    contexts.map(({ subgroupSize, tuned }) => [subgroupSize, tuned]),
    [
      [subgroupSize, {}],
      [subgroupSize, { "some key": "some tile" }],
    ],
  );
});

tests.run();
