/** What the cpu device does when memory or a thread fails: it throws a clear error, and stays usable where it can. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CpuDevice, openCpu } from "../engine/backends/cpu/backend.ts";
import { loadKernels } from "../engine/backends/cpu/build.ts";
import { Pool } from "../engine/backends/cpu/pool.ts";
import type { Device, DeviceBuffer } from "../engine/device.ts";
import { DeviceError, DeviceLostError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { attention_backward } from "../kernels/attention/attention_backward.ts";
import { type Shape, elements } from "../kernels/base/shape.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";

const values = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7));
const make = (task: Task, shape: Shape): Tensor => task.tensor(values(elements(shape)), shape);

/** A product, and a kernel that needs more: two pieces of scratch memory larger than the product's, and shared memory. */
function workOn(device: Device) {
  const task = new Task(device);
  const [T, H, D] = [64, 2, 512];
  const small = { a: make(task, [400, 50]), w: make(task, [300, 50]) };
  const y = task.empty([400, 300]);
  const head = { q: make(task, [T, H, D]), dy: make(task, [T, H, D]), k: make(task, [T, 1, D]) };
  const large = { ...head, v: make(task, [T, 1, D]), lse: make(task, [T, H]), delta: make(task, [T, H]) };
  const params = { past: 0, window: 0, sinks: 0, frozen: 0, scale: 0.05, softcap: 0 };
  return {
    product: async (): Promise<Float32Array> => {
      task.run(matmul_nt, small, { alpha: 1 }, { into: { c: y } });
      return await y.data();
    },
    gradients: async (): Promise<Float32Array[]> => {
      using _scope = task.scope();
      const { dq, dk, dv } = task.run(attention_backward, large, params);
      return await Promise.all([dq, dk, dv].map((tensor) => tensor.data()));
    },
  };
}

test("memory that ends at any allocation of a kernel leaves everything as it was; with more it runs", async () => {
  await using roomy = await openCpu({ threads: 2 });
  const expected = workOn(roomy);
  const [product, gradients] = [await expected.product(), await expected.gradients()];

  await using device = await openCpu({ threads: 2, maxBytes: 6 * 2 ** 20 });
  const { product: again, gradients: attempt } = workOn(device);
  assert.equal(await again(), product);
  const CHUNK = 16 * 2 ** 10;
  /** As many buffers as there is room for. */
  const fill = (): DeviceBuffer[] => {
    const buffers: DeviceBuffer[] = [];
    try {
      for (;;) buffers.push(device.allocate("u32", CHUNK / 4, "filler"));
    } catch (error) {
      assert.instance(error, DeviceError);
      return buffers;
    }
  };
  const fillers = fill();
  const reasons = new Set<string>();
  for (;;) {
    const before = device.stats();
    try {
      assert.equal(await attempt(), gradients);
      break;
    } catch (error) {
      assert.instance(error, DeviceError);
      reasons.add(/no room for ([\w. ]+) \(/.exec((error as Error).message)?.[1] ?? String(error));
    }
    const { liveBuffers, liveBytes } = device.stats();
    assert.equal([liveBuffers, liveBytes], [before.liveBuffers, before.liveBytes]);
    // Memory that the kernel freed now belongs to other buffers; the product may have no room, but must not touch them.
    const others = fill();
    const pattern = new Uint32Array(CHUNK / 4).fill(0xabad1dea);
    for (const buffer of others) device.write({ buffer, offset: 0, length: pattern.length }, pattern);
    await again().then(
      (got) => assert.equal(got, product),
      (error: unknown) => assert.instance(error, DeviceError),
    );
    for (const buffer of others) {
      assert.equal(
        new Uint32Array(await device.read({ buffer, offset: 0, length: pattern.length })),
        pattern,
      );
      device.free(buffer);
    }
    assert.equal(await again(), product);
    const filler = fillers.pop();
    if (!filler) throw new Error("the kernel has no room in all of the memory");
    device.free(filler);
  }
  const all = [...["dq", "dk", "dv"].map((name) => `attention_backward.${name}`), "shared memory"];
  assert.equal([...reasons], [...all, "scratch memory"]);
  assert.equal(await again(), product);
});

test("maxBytes below what the kernels need is refused", async () => {
  await openCpu({ threads: 1, maxBytes: 65536 }).then(
    () => assert.unreachable("opened"),
    (error: Error) => assert.match(error.message, /^maxBytes 65536: at least \d+/),
  );
});

/** A device of three threads, one of which is going to end. */
async function openDying(way: string): Promise<CpuDevice> {
  process.env["TEMPLORA_TEST_DEATH"] = way;
  const kernels = await loadKernels({});
  const script = new URL("./support/dying_worker.js", import.meta.url);
  return new CpuDevice(kernels, await Pool.start(kernels, 3, script), {});
}

for (const way of ["exit", "throw"]) {
  test(`a worker that ends inside a command (${way}) is noticed: from then on the device throws DeviceLostError, and it closes`, async () => {
    const device = await openDying(way);
    const { product } = workOn(device);
    const buffer = device.allocate("f32", 4, "four");
    const view = { buffer, offset: 0, length: 4 };
    const start = performance.now();
    let error: unknown;
    // A worker that comes late for a command takes no part in it.
    while (error === undefined && performance.now() - start < 20_000)
      await product().catch((reason: unknown) => (error = reason));
    assert.instance(error, DeviceLostError);
    assert.match((error as Error).message, /^cpu: worker thread 2 of 2 has ended/);
    assert.throws(() => device.allocate("f32", 1, "one"), /worker thread 2 of 2 has ended/);
    assert.throws(() => device.write(view, values(4)), /worker thread 2 of 2 has ended/);
    for (const use of [() => device.read(view), () => device.flush(), product]) {
      await use().then(
        () => assert.unreachable("went on"),
        (reason: unknown) => assert.instance(reason, DeviceLostError),
      );
    }
    device.free(buffer);
    await device.close();
    await device.close();
  });
}

test("a worker that ends between commands is noticed, too, after a turn of the event loop", async () => {
  await using device = await openDying("idle");
  let error: unknown;
  for (const start = performance.now(); error === undefined && performance.now() - start < 20_000;) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    await device.flush().catch((reason: unknown) => (error = reason));
  }
  assert.instance(error, DeviceLostError);
  assert.match((error as Error).message, /worker thread 2 of 2 has ended/);
});

test("a worker that ends before it is ready is a DeviceError", async () => {
  await openDying("start").then(
    () => assert.unreachable("started"),
    (error: Error) => {
      assert.instance(error, DeviceError);
      assert.match(error.message, /a worker thread did not start/);
    },
  );
});

test("a closed device says so; closing it again is harmless", async () => {
  const device = await openCpu({ threads: 2 });
  const buffer = device.allocate("f32", 1, "one");
  await device.close();
  await device.close();
  assert.throws(() => device.allocate("f32", 1, "one"), /the cpu device is closed/);
  device.free(buffer);
});

test.run();
