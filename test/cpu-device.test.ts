/** The cpu device beyond its kernels: memory that settles, errors with names, threads that agree, unshared memory. */
import { at } from "../kernels/base/at.ts";
import { existsSync, readFileSync } from "node:fs";
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Allocator } from "../engine/backends/cpu/allocator.ts";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Control, OPEN, word } from "../engine/backends/cpu/control.js";
import { describeBuild, loadKernels } from "../engine/backends/cpu/build.ts";
import type { BufferView, Device, DeviceBuffer } from "../engine/device.ts";
import { Task } from "../engine/task.ts";
import { DeviceError, DisposedError } from "../engine/errors.ts";
import { type AnyKernel, anyLength, defineKernel } from "../kernels/kernel.ts";
import { accumulate } from "../kernels/add/add.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";

const first = (buffer: DeviceBuffer): BufferView => ({ buffer, offset: 0, length: 1 });

test("allocator: blocks never overlap, and freeing everything joins all gaps again", () => {
  const step = fc.record({ size: fc.integer({ min: 0, max: 5000 }), free: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let end = 1024;
      const allocator = new Allocator(1024, (bytes) => {
        const made = Math.ceil(bytes / 4096) * 4096;
        end += made;
        return made;
      });
      const live: { address: number; size: number }[] = [];
      for (const { size, free } of steps) {
        const address = allocator.allocate(size);
        assert.ok(address !== undefined && address % 64 === 0 && address + size <= end);
        for (const other of live)
          assert.ok(
            address >= other.address + Math.max(1, other.size) ||
              address + Math.max(1, size) <= other.address,
          );
        live.push({ address, size });
        if (free % 3 === 0) allocator.free(at(live.splice(free % live.length, 1), 0).address);
      }
      for (const { address } of live) allocator.free(address);
      assert.is(allocator.liveBytes, 0);
      const whole = end - 1024;
      if (whole > 0) assert.is(allocator.allocate(whole), 1024, "one gap from the start to the end");
    }),
    { seed: 7 },
  );
});

test("a device computes with as many of its threads as its share says, and the same", async () => {
  await using device = await openCpu({ threads: 3 });
  const task = new Task(device);
  const values = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i));
  const product = (): Promise<Float32Array> => {
    const a = task.tensor(values(200 * 64), [200, 64]);
    return task.run(matmul_nt, { a, w: task.tensor(values(96 * 64), [96, 64]) }, { alpha: 1 }).c.data();
  };
  const all = await product();
  for (const share of [1, 2]) {
    device.share[0] = share;
    const before = device.stats().submits;
    assert.equal(await product(), all);
    assert.is(device.stats().submits > before, share > 1);
  }
});

test("a worker that is one too many leaves a command after its unit; the main thread ends it", () => {
  const control = new Control();
  control.words[word.units] = 5;
  control.words[word.grain] = 1;
  const done: [number, number] = [0, 0];
  const by = (thread: 0 | 1): void => control.work([() => done[thread]++], thread);
  Atomics.store(control.words, word.most, 2);
  Atomics.store(control.words, word.state, OPEN + 1);
  assert.equal([control.isFull(0), control.isFull(1)], [false, true]);
  Atomics.store(control.words, word.most, 1);
  by(1);
  by(0);
  assert.equal(done, [4, 1]);
});

test("memory that is full is a DeviceError that says so; freeing makes room again", async () => {
  const device = await openCpu({ threads: 1 });
  const held: DeviceBuffer[] = [];
  let error: unknown;
  try {
    for (;;) held.push(device.allocate("f32", 2 ** 28, "a gibibyte"));
  } catch (e) {
    error = e;
  }
  assert.instance(error, DeviceError);
  assert.match(
    (error as DeviceError).message,
    `no room for a gibibyte (1024.0 MiB): ${1024 * held.length}.0 MiB in use of at most 4095.9 MiB`,
  );
  assert.ok(held.length >= 2 && held.length <= 3, `${held.length} GiB fitted into 4 GiB`);
  for (const buffer of held) device.free(buffer);
  device.free(device.allocate("f32", 2 ** 28, "again"));
  assert.is(device.stats().liveBuffers, 0);
  await device.close();
});

test("the fastest build that the engine has is taken, or the one that is named", async () => {
  const [node = 0, v8 = 0] = [process.versions.node, process.versions.v8].map((version) =>
    parseInt(version, 10),
  );
  const avx2 = !existsSync("/proc/cpuinfo") || readFileSync("/proc/cpuinfo", "latin1").includes(" avx2 ");
  const relaxed = node >= 22 ? "relaxed" : "plain"; // before, V8 had it behind a flag only
  assert.is((await loadKernels({})).build, relaxed);
  assert.is((await loadKernels({ build: "plain" })).build, "plain");
  process.env["TEMPLORA_CPU_BUILD"] = "plain";
  assert.is((await loadKernels({})).build, "plain");
  process.env["TEMPLORA_CPU_BUILD"] = "fast";
  await loadKernels({}).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), /BadInputError: TEMPLORA_CPU_BUILD=fast: choose one of/),
  );
  process.env["TEMPLORA_CPU_BUILD"] = "";
  const best = v8 >= 13 && process.arch === "x64" && avx2 ? "wide" : "relaxed";
  assert.is((await loadKernels({ v8Flags: true })).build, best);
  delete process.env["TEMPLORA_CPU_BUILD"];
});

test("a build says what it is, and what would be faster here", () => {
  const [node = 0] = process.versions.node.split(".").map(Number);
  assert.is(describeBuild("wide"), "WebAssembly relaxed SIMD in 256 bits");
  assert.is(describeBuild("wide", true), describeBuild("wide"));
  assert.match(describeBuild("relaxed"), /^WebAssembly relaxed SIMD(;|$)/);
  assert.match(describeBuild("plain"), /^WebAssembly SIMD(;|$)/);
  const gains = (build: "relaxed" | "plain", flags: boolean): boolean[] =>
    [/would give relaxed SIMD/, /v8Flags may make it twice as fast/, /Node 24 or newer/].map((said) =>
      said.test(describeBuild(build, flags)),
    );
  const [old, x64] = [node < 24, process.arch === "x64"];
  assert.equal(gains("relaxed", false), [false, !old && x64, old && x64]);
  assert.equal(gains("relaxed", true), [false, false, old && x64]);
  assert.equal(gains("plain", false), [node < 22, false, old && x64]);
  assert.equal(gains("plain", true), [false, false, old && x64]);
});

test("memory has the size that was asked for", async () => {
  const [least, page] = [2 ** 20, 2 ** 16];
  for (const [maxBytes, want] of [
    [least, least],
    [2 * least + page - 1, 2 * least],
    [2 ** 40, 2 ** 32 - page],
    [undefined, 2 ** 32 - page],
  ] as const)
    assert.is((await loadKernels(maxBytes === undefined ? {} : { maxBytes })).maxBytes, want);
  for (const maxBytes of [least - 1, 0, NaN])
    await loadKernels({ maxBytes }).then(
      () => assert.unreachable(),
      (error: unknown) => assert.match(String(error), /at least 1048576 are needed/),
    );
});

test("a parameter that is not given is refused, not computed with", async () => {
  await using device = await openCpu({ threads: 1 });
  const slots = { x: first(device.allocate("f32", 1, "x")), y: first(device.allocate("f32", 1, "y")) };
  const call = { kernel: accumulate, slots, dims: { N: 1 }, params: {} };
  assert.throws(
    () => device.run(call),
    (error: unknown) => error instanceof RangeError && /alpha/.test(error.message),
  );
});

test("a freed buffer is not usable, a missing export and a trap name the kernel; one unit of work is not shared", async () => {
  const device = await openCpu({ threads: 2 });
  const rest = {
    ...{ formula: "", inouts: {}, random: {}, cases: [] },
    webgpu: () => [],
    reference: () => undefined,
    tolerance: () => ({ rel: 0, abs: 0, why: "" }),
    cost: () => ({ flops: 0, bytes: 0 }),
  };
  const slots = {
    inputs: { x: "f32[1]" },
    outputs: { y: "f32[1]" },
    params: { N: "u32" },
    ranges: { N: anyLength },
    defaults: { N: 1 },
  } as const;
  const kernel = (name: string, wasm: string, units: number): AnyKernel =>
    defineKernel({ ...rest, ...slots, name, cpu: [{ export: wasm, units: () => units }] });
  const [x, y] = [device.allocate("f32", 64, "x"), device.allocate("f32", 64, "y")];
  const run = (one: AnyKernel, N: number): void =>
    device.run({ kernel: one, slots: { x: first(x), y: first(y) }, dims: {}, params: { N } });
  const names = (name: string) => (e: Error) => e instanceof DeviceError && e.message.includes(name);
  assert.throws(() => run(kernel("missing", "no_such_export", 1), 64), names("missing"));
  // Given far more elements than there are, the copy runs off the end of the memory, in any of the threads.
  assert.throws(() => run(kernel("trap", "probe_copy", 16_000), 5e8), names("trap"));
  assert.throws(() => run(kernel("many", "probe_copy", 2 ** 30 + 1), 64), names("at most 1073741824"));
  const { submits } = device.stats();
  run(kernel("copy", "probe_copy", 1), 64);
  assert.is(device.stats().submits, submits, "by the caller alone");
  device.free(x);
  assert.throws(
    () => device.free(x),
    (e: Error) => e instanceof DisposedError,
  );
  await device.close();
});

test("1, 2 and 3 threads and unshared memory give the same bits", async () => {
  const [M, N, K] = [130, 97, 70];
  const some = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 1.7));
  const [a, w] = [some(M * K), some(N * K)];
  const product = async (device: Device): Promise<Float32Array> => {
    const task = new Task(device);
    using _scope = task.scope();
    const c = task.run(matmul_nt, { a: task.tensor(a, [M, K]), w: task.tensor(w, [N, K]) }, { alpha: 1 }).c;
    const values = await c.data();
    await device.close();
    return values;
  };
  const one = await product(await openCpu({ threads: 1 }));
  for (const options of [{ threads: 2 }, { threads: 3 }, { shared: false }]) {
    assert.equal(await product(await openCpu(options)), one, JSON.stringify(options));
  }
});

test("a profile has the calls of each kernel and no more time than went by", async () => {
  await using device = await openCpu({ threads: 1, profile: true });
  using task = new Task(device);
  using _scope = task.scope();
  const began = performance.now();
  for (let call = 0; call < 3; call++)
    task.run(matmul_nt, { a: task.empty([64, 64]), w: task.empty([64, 64]) }, { alpha: 1 });
  const { calls, ms = NaN } = (await device.profile()).get("matmul_nt") ?? {};
  assert.is(calls, 3);
  assert.ok(ms > 0 && ms <= performance.now() - began, `${ms} ms`);
});

test.run();
