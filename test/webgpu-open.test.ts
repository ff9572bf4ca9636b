/** How the webgpu device is opened and closed, and what it tells the GPU to do for a call: on a GPU that only listens. */
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WebGpuDevice, type WebGpuOptions, openWebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import { type AdapterFacts, openWebGpu } from "../engine/backends/webgpu/device.ts";
import { Faults } from "../engine/backends/webgpu/faults.ts";
import { tuningFile, writeTuning } from "../engine/backends/webgpu/tuning.ts";
import type { BufferView, DeviceBuffer } from "../engine/device.ts";
import { DTypeError, DeviceError } from "../engine/errors.ts";
import { wgsl } from "../kernels/build/wgsl.ts";
import type { AnyKernel, Numbers, PlanContext, WebGpuPass } from "../kernels/kernel.ts";
import { FakeGpu } from "./support/fake_gpu.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("webgpu open");

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Does `body` where the global `name` is `value`, as in a browser. */
async function where<T>(name: string, value: unknown, body: () => Promise<T>): Promise<T> {
  const before = Object.getOwnPropertyDescriptor(globalThis, name);
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  try {
    return await body();
  } finally {
    if (before) Object.defineProperty(globalThis, name, before);
    else Reflect.deleteProperty(globalThis, name);
  }
}

/** As a browser has them: attributes are getters of the prototype. */
class Limits {
  get maxBufferSize() {
    return 2 ** 28;
  }
  get maxStorageBufferBindingSize() {
    return 2 ** 27;
  }
  get minStorageBufferOffsetAlignment() {
    return 32;
  }
}
for (const name of ["maxBufferSize", "maxStorageBufferBindingSize", "minStorageBufferOffsetAlignment"])
  Object.defineProperty(Limits.prototype, name, { enumerable: true });

const card = { vendor: "v", architecture: "a", device: "card", description: "", isFallbackAdapter: false };

/** A browser's navigator with one adapter. */
function browser(info: object = {}, features: readonly string[] = [], more: object = {}) {
  const gpu = new FakeGpu();
  const asked: unknown[] = [];
  const adapter = {
    info: { ...card, ...info },
    features: new Set(features),
    limits: new Limits(),
    requestDevice: (descriptor: object) => {
      asked.push(descriptor);
      return Promise.resolve(gpu.device);
    },
    ...more,
  };
  const requestAdapter = (options: object) => {
    asked.push(options);
    return Promise.resolve(adapter);
  };
  const navigator = { gpu: { requestAdapter } };
  return {
    gpu,
    asked,
    open: (options?: WebGpuOptions) => where("navigator", navigator, () => openWebGpu(options)),
    navigator,
  };
}

test("the device has the adapter's limits, and those of its features that are of use", async () => {
  const { gpu, asked, open } = browser({}, [
    "timestamp-query",
    "shader-f16",
    "texture-compression-bc",
    "subgroups",
  ]);
  const { device, adapter } = await open();
  const limits = {
    maxBufferSize: 2 ** 28,
    maxStorageBufferBindingSize: 2 ** 27,
    minStorageBufferOffsetAlignment: 32,
  };
  const features = ["shader-f16", "subgroups", "timestamp-query"];
  assert.is(device, gpu.device);
  assert.equal(asked, [
    { powerPreference: "high-performance" },
    { label: "templora", requiredFeatures: features, requiredLimits: limits },
  ]);
  const { isFallbackAdapter: _, ...facts } = card;
  assert.equal(adapter, { ...facts, software: false, features, limits });
  assert.equal((await browser({}, ["subgroups"]).open()).adapter.features, ["subgroups"]);
});

test("what computes on the CPU is known, and refused where hardware is asked for", async () => {
  for (const info of [
    { isFallbackAdapter: true },
    ...["software", "swiftshader", "warp"].map((architecture) => ({ architecture })),
  ]) {
    assert.is((await browser(info).open({ adapter: "any" })).adapter.software, true);
    const error = (await failure(browser(info).open({ adapter: "hardware" }))) as Error;
    assert.instance(error, DeviceError);
    assert.match(error.message, /the only adapter computes on the CPU \(card\)/);
  }
  for (const architecture of ["warped", "gen-software", ""]) {
    const { adapter } = await browser({ architecture }).open({ adapter: "hardware" });
    assert.is(adapter.software, false);
  }
});

test("why there is no device is said", async () => {
  const said = async (info: object, more: object): Promise<Error> => {
    const error = await failure(browser(info, [], more).open());
    assert.instance(error, DeviceError);
    return error as Error;
  };
  const causes = [
    [new Error("limits too high"), "limits too high"],
    [{ message: "as Dawn throws" }, "as Dawn throws"],
    ["a string", "a string"],
    [null, "null"],
    [7, "7"],
  ] as readonly unknown[] as readonly (readonly [cause: Error, words: string])[];
  for (const [cause, words] of causes) {
    const error = await said({}, { requestDevice: () => Promise.reject(cause) });
    assert.is(error.message, `webgpu: card refused a device: ${words}`);
    assert.is(error.cause, cause);
  }
  assert.match((await said({ device: "null-backend" }, {})).message, /null backend computes nothing/);
  const nothing = { gpu: { requestAdapter: () => Promise.resolve(null) } };
  assert.match(
    String(await failure(where("navigator", nothing, () => openWebGpu()))),
    /webgpu: no adapter found/,
  );
  for (const navigator of [undefined, {}]) {
    const opening = where("navigator", navigator, () => where("process", undefined, () => openWebGpu()));
    assert.match(String(await failure(opening)), /this browser has no WebGPU/);
  }
});

/** The package webgpu by turns: missing, broken, one without an adapter. */
const packages = `
  let turn = 0;
  export async function resolve(specifier, context, next) {
    if (specifier !== "webgpu") return next(specifier, context);
    const missing = turn++ % 3 === 0;
    if (missing) return next(specifier, { ...context, parentURL: "file:///nowhere/device.js" });
    const text = turn % 3 === 2 ? "throw new Error('no such library');" : \`
      export const globals = { GPUTest: 7 };
      export const create = (flags) => ({ requestAdapter: () => (globalThis.GPUTest = [flags, globalThis.GPUTest], null) });\`;
    return { url: "data:text/javascript," + encodeURIComponent(text + "//" + turn), shortCircuit: true };
  }`;

test("under Node the package webgpu is loaded: where that fails, what to do is said", async () => {
  register(`data:text/javascript,${encodeURIComponent(packages)}`);
  const { VK_DRIVER_FILES: before } = process.env;
  const open = () => where("navigator", undefined, () => openWebGpu());
  try {
    process.env["VK_DRIVER_FILES"] = "/nowhere";
    if (process.platform === "linux")
      assert.match(String(await failure(open())), /no Vulkan driver at \/nowhere;/);
    process.env["VK_DRIVER_FILES"] = fileURLToPath(import.meta.url);
    for (const message of [
      /^DeviceError: webgpu: the package 'webgpu' is not installed; npm install webgpu/,
      /^DeviceError: webgpu: Dawn cannot be loaded on this machine: no such library$/,
      /^DeviceError: webgpu: no adapter found/,
    ])
      assert.match(String(await failure(open())), message);
    assert.equal(Reflect.get(globalThis, "GPUTest"), [[], 7], "Dawn's globals, and no flags of its own");
  } finally {
    if (before === undefined) delete process.env["VK_DRIVER_FILES"];
    else process.env["VK_DRIVER_FILES"] = before;
  }
});

test("after destroy() the device is closed, before it is not", async () => {
  const { gpu, open } = browser();
  const { faults, destroy } = await open();
  faults.assertAlive();
  destroy();
  assert.equal(gpu.take("destroy"), [["destroy"]]);
  assert.throws(() => faults.assertAlive(), /the WebGPU device is closed/);
});

test("a browser has no file of tuned choices; a device that does not come up is destroyed", async () => {
  const { gpu, navigator } = browser();
  const opening = (options?: WebGpuOptions) =>
    where("navigator", navigator, () => where("process", undefined, () => openWebGpuDevice(options)));
  const device = await opening();
  assert.equal(device.info.facts["tuned"], []);
  assert.equal((await opening({ tuned: { a: "b" } })).info.facts["tuned"], ["a=b"]);
  gpu.calls.length = 0;
  gpu.answers["popErrorScope"] = () => Promise.resolve({ message: "no memory" });
  assert.match(String(await failure(opening())), /parameter arena: no memory/);
  assert.equal(gpu.take("destroy"), [["destroy"]]);
});

test("under Node a device takes what was tuned for its adapter", async () => {
  const before = process.env["TEMPLORA_CACHE"];
  process.env["TEMPLORA_CACHE"] = temporaryFolder();
  try {
    const stored = { "matmul.many": "64x64v@96" };
    const { isFallbackAdapter: _, ...adapter } = card;
    await writeTuning(tuningFile(), adapter, stored);
    const { navigator } = browser();
    const device = await where("navigator", navigator, () => openWebGpuDevice());
    assert.equal(device.info.facts["tuned"], ["matmul.many=64x64v@96"]);
  } finally {
    if (before === undefined) delete process.env["TEMPLORA_CACHE"];
    else process.env["TEMPLORA_CACHE"] = before;
  }
});

const facts: AdapterFacts = {
  ...{ vendor: "v", architecture: "a", device: "card", description: "driver 1" },
  ...{ software: false, features: ["subgroups"], limits: {} },
};

function openFake(
  { tuned = {}, ...options }: WebGpuOptions = {},
  own: Partial<AdapterFacts> = {},
  gpuFacts: object = {},
) {
  const gpu = new FakeGpu(gpuFacts);
  const faults = new Faults(gpu.device);
  const adapter = { ...facts, ...own };
  const destroy = (): void => {
    gpu.calls.push(["destroy device"]);
    faults.close();
  };
  const device = new WebGpuDevice({ device: gpu.device, adapter, faults, destroy }, { tuned, ...options });
  return { gpu, faults, adapter, device };
}

test("a device says what it is", () => {
  const { device, adapter } = openFake({ tuned: { "matmul.few": "32x32@96", x: "y" } });
  assert.equal(device.info, {
    kind: "webgpu",
    description: "webgpu: driver 1",
    software: false,
    facts: {
      ...{ vendor: "v", architecture: "a", device: "card", description: "driver 1" },
      ...{ features: ["subgroups"], subgroupSize: 0, tuned: ["matmul.few=32x32@96", "x=y"] },
    },
  });
  assert.is(device.adapter, adapter);
  assert.is(openFake({}, { description: "", software: true }).device.info.description, "webgpu: card");
  assert.is(openFake({}, { description: "", software: true }).device.info.software, true);
  assert.is(openFake({}, { description: "", device: "" }).device.info.description, "webgpu: v");
  assert.is(device.viewAlignment, 64);
  assert.equal(device.limits, { buffer: 2 ** 28, binding: 2 ** 27 });
  assert.is(openFake({ maxBinding: 2 ** 20 }).device.limits.binding, 2 ** 20);
  assert.is(openFake({ maxBinding: 2 ** 30 }).device.limits.binding, 2 ** 27);
});

test("timestamps are taken where they are asked for and there", () => {
  const timed = { features: new Set(["timestamp-query"]) };
  for (const [options, own, sets] of [
    [{}, timed, 0],
    [{ profile: false }, timed, 0],
    [{ profile: true }, {}, 0],
    [{ profile: true }, timed, 1],
  ] as const)
    assert.is(openFake(options, {}, own).gpu.take("createQuerySet").length, sets);
});

const shaders: Record<string, string> = {
  "test/mix.wgsl": `@group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read> w: array<u32>;
    @group(0) @binding(3) var<storage, read_write> y: array<f32>;`,
  "test/first.wgsl": `@group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read_write> sums: array<f32>;`,
};
test.before(() => void Object.assign(wgsl, shaders));
test.after(() => {
  for (const name of Object.keys(shaders)) Reflect.deleteProperty(wgsl, name);
});

/** A kernel of one weight, with these passes. */
function mixing(passes: readonly WebGpuPass[], more: object = {}, seen: PlanContext[] = []): AnyKernel {
  const spec = {
    params: { scale: "f32", shift: "i32", count: "u32" },
    webgpu: (_dims: Numbers, _params: Numbers, context: PlanContext) => {
      seen.push(context);
      return passes;
    },
    webgpuScratch: () => ({ sums: 64 }),
    cost: () => ({ flops: 0, bytes: 0 }),
    ...more,
  };
  const slots = [
    ["x", "input"],
    ["w", "input"],
    ["y", "output"],
  ].map(([name, role]) => ({ name, role }));
  const names = { dimNames: ["N", "K"], paramNames: ["scale", "shift", "count"] };
  return { name: "mix", slots, ...names, weightSlot: "w", spec } as unknown as AnyKernel;
}
const mix: WebGpuPass = { source: "test/mix.wgsl", groups: [1, 2, 3] };
const first: WebGpuPass = { source: "test/first.wgsl", groups: [4, 5, 6], bindings: ["x", "sums"] };

function workOn(options?: WebGpuOptions, own?: Partial<AdapterFacts>, gpuFacts?: object) {
  const opened = openFake(options, own, gpuFacts);
  const { device, gpu } = opened;
  const slots: Record<string, BufferView> = {};
  for (const [name, dtype] of [
    ["x", "f32"],
    ["w", "f16"],
    ["y", "f32"],
  ] as const)
    slots[name] = { buffer: device.allocate(dtype, 256, name), offset: 0, length: 256 };
  const run = (kernel: AnyKernel, changed: object = {}): void =>
    device.run({
      ...{ kernel, slots: { ...slots, ...changed }, dims: { N: 3, K: 5 } },
      params: { scale: 0.5, shift: -2, count: 7 },
    });
  gpu.calls.length = 0;
  return { ...opened, slots, run };
}
const part = (view: BufferView | undefined, offset: number, length: number): BufferView => ({
  ...{ buffer: view?.buffer as DeviceBuffer, offset, length },
});

test("a call is its passes: what each binds, and its parameters in the order of the struct", () => {
  const { gpu, device, run } = workOn({}, {}, { features: new Set() });
  run(
    mixing([
      first,
      { ...mix, extra: { row: 9, rows: 11 }, parts: { x: [128, 64] } },
      { ...mix, groups: [2, 0, 1] },
    ]),
  );
  const groups = gpu.calls
    .filter(([method]) => method === "createBindGroup")
    .map(([, given]) => given as Given);
  const ranges = groups.map(({ entries }) =>
    entries.slice(1).map(({ resource: { buffer, offset, size } }) => [buffer.label, offset, size]),
  );
  assert.equal(ranges, [
    [
      ["x", 0, 1024],
      ["mix.sums", 0, 256],
    ],
    [
      ["x", 512, 256],
      ["w", 0, 512],
      ["y", 0, 1024],
    ],
  ]);
  assert.equal(
    gpu.calls.filter(([method]) => method === "dispatchWorkgroups"),
    [
      ["dispatchWorkgroups", 4, 5, 6],
      ["dispatchWorkgroups", 1, 2, 3],
    ],
  );
  const labels = gpu.calls
    .filter(([method]) => method === "createComputePipeline")
    .map(([, given]) => (given as { label: string }).label);
  assert.equal(
    labels,
    ["test/first.wgsl ", "test/mix.wgsl f16"],
    "only what binds the weight depends on its format",
  );
  const { liveBuffers, dispatches, submits, pipelines, bindGroups, allocations } = device.stats();
  assert.equal([liveBuffers, dispatches, submits, pipelines, bindGroups, allocations], [3, 2, 0, 2, 2, 4]);
  void device.flush();
  const words = gpu.calls.find(([method]) => method === "writeBuffer")?.[3] as Uint32Array;
  const half = new Uint32Array(Float32Array.of(0.5).buffer)[0];
  assert.equal([...words.subarray(0, 6)], [3, 5, half, 2 ** 32 - 2, 7, 0]);
  assert.equal([...words.subarray(64, 72)], [3, 5, half, 2 ** 32 - 2, 7, 9, 11, 0]);
  assert.equal(device.stats(), {
    ...device.stats(),
    peakBytes: 1024 + 512 + 1024 + 256,
    liveBytes: 2560,
    submits: 1,
  });
});
interface Given {
  readonly entries: readonly {
    readonly resource: { readonly buffer: { label: string }; offset: number; size: number };
  }[];
}

test("what is bound is whole words, and never nothing", () => {
  const { gpu, slots, run } = workOn();
  run(mixing([mix]), { x: part(slots["x"], 0, 0), w: part(slots["w"], 0, 3), y: part(slots["y"], 64, 1) });
  const [, { entries }] = gpu.take("createBindGroup")[0] as unknown as [string, Given];
  assert.equal(
    entries.slice(1).map(({ resource: { offset, size } }) => [offset, size]),
    [
      [0, 4],
      [0, 8],
      [256, 4],
    ],
  );
});

test("a binding may have just as many bytes as the device allows", () => {
  const { run } = workOn({ maxBinding: 1024 });
  run(mixing([mix]));
  const tight = workOn({ maxBinding: 1020 });
  assert.throws(() => tight.run(mixing([mix])), /mix\.x \(x\): 1024 bytes; this adapter binds at most 1020/);
});

test("no pass of no workgroups is issued, whichever axis has none", () => {
  const { device, run } = workOn();
  for (const groups of [
    [0, 1, 1],
    [1, 0, 1],
    [1, 1, 0],
  ] as const)
    run(mixing([{ ...mix, groups }]));
  assert.is(device.stats().dispatches, 0);
});

test("with profile a pass has the kernel's and the shader's name", () => {
  const { gpu, run } = workOn({ profile: true }, {}, { features: new Set(["timestamp-query"]) });
  run(mixing([mix]));
  assert.is((gpu.take("beginComputePass")[0]?.[1] as { label: string }).label, "mix: test/mix.wgsl");
});

test("a call that cannot be is refused in words, and leaves nothing allocated", () => {
  const { device, slots, run } = workOn();
  const refused = (message: RegExp, kernel: AnyKernel, changed?: object): void => {
    assert.throws(() => run(kernel, changed), message);
    assert.equal([device.stats().liveBuffers, device.stats().dispatches], [3, 0]);
  };
  refused(
    /mix: test\/first\.wgsl binds nowhere, which is no slot or scratch/,
    mixing([{ ...first, bindings: ["x", "nowhere"] }]),
  );
  refused(/mix\.x \(x\): byte offset 128 is not a multiple of 256/, mixing([mix]), {
    x: part(slots["x"], 32, 4),
  });
  refused(
    /mix\.x \(x\): byte offset 288 is not a multiple of 256/,
    mixing([{ ...mix, parts: { x: [8, 8] } }]),
    {
      x: part(slots["x"], 64, 16),
    },
  );
  refused(/w: byte offset 2 is not a multiple of 4/, mixing([mix]), { w: part(slots["w"], 1, 1) });
  refused(/elements \[200, 300\) of 256/, mixing([mix]), { x: part(slots["x"], 200, 100) });
  assert.throws(
    () => run(mixing([mix]), { w: slots["x"], y: { buffer: { label: "alien" }, offset: 0, length: 1 } }),
    /alien is not a webgpu buffer/,
  );
  const words = { buffer: device.allocate("i32", 4, "ids"), offset: 0, length: 4 };
  assert.throws(
    () => run(mixing([mix]), { w: words }),
    (error: unknown) =>
      error instanceof DTypeError && error.message === "mix.w: expected a weight format, got i32",
  );
});

test("what a plan may depend on: the weight's format, the adapter, what was tuned", () => {
  const one = { adapterInfo: { subgroupMinSize: 32, subgroupMaxSize: 32 }, features: new Set(["subgroups"]) };
  const seen: PlanContext[] = [];
  const { device, slots, run } = workOn({ tuned: { a: "b" }, maxBinding: 4096 }, {}, one);
  const kernel = mixing([], {}, seen);
  run(kernel);
  run(kernel);
  const context = { software: false, subgroupSize: 32, maxBinding: 4096, tuned: { a: "b" } };
  assert.equal(seen[0], { ...context, weight: "f16" });
  assert.is(seen[1], seen[0], "made once");
  run({ ...kernel, weightSlot: undefined, spec: { ...kernel.spec, webgpuScratch: undefined as never } });
  run(kernel, { w: part(slots["x"], 64, 64), x: slots["w"] });
  assert.equal(seen.splice(2), [
    { ...context, weight: "f32" },
    { ...context, weight: "f32" },
  ]);
  device.retune({ c: "d" });
  run(kernel);
  assert.equal(seen[2], { ...context, weight: "f16", tuned: { c: "d" } });

  const none: PlanContext[] = [];
  for (const gpuFacts of [
    { ...one, features: new Set() },
    { ...one, adapterInfo: { subgroupMinSize: 8, subgroupMaxSize: 32 } },
    { ...one, adapterInfo: {} },
  ])
    workOn({}, { software: true }, gpuFacts).run(mixing([], {}, none));
  assert.equal(
    none.map((each) => [each.software, "subgroupSize" in each]),
    [
      [true, false],
      [true, false],
      [true, false],
    ],
  );
  assert.is(openFake({}, {}, one).device.info.facts["subgroupSize"], 32);
});

test("work is estimated by the weight's format; a kernel of many passes gets a batch of its own", () => {
  const formats: unknown[] = [];
  const cost = (_dims: Numbers, _params: Numbers, weight: string) => {
    formats.push(weight);
    return { flops: 0, bytes: 4e9 };
  };
  const { device, run } = workOn();
  const kernel = mixing([mix], { cost });
  run(kernel);
  assert.is(device.stats().submits, 0);
  run({ ...kernel, weightSlot: undefined });
  assert.is(device.stats().submits, 1, "0.4 s");
  assert.equal(formats, ["f16", "f32"]);
});

test("reads and writes go to the view's bytes, and are refused beyond it", async () => {
  const { gpu, device, slots } = workOn();
  gpu.answers["getMappedRange"] = () => Float32Array.of(1, 2).buffer;
  const view = part(slots["x"], 64, 2);
  device.write(view, new Float32Array([0, 1, 2, 3]).subarray(1, 3));
  const [[, , offset, bytes, from, size]] = gpu.take("writeBuffer") as unknown as [unknown[]];
  assert.equal(
    [offset, [...(bytes as Uint8Array)], from, size],
    [256, [...new Uint8Array(Float32Array.of(1, 2).buffer)], 0, 8],
  );
  assert.throws(() => device.write(view, new Float32Array(3)), /x: 12 bytes written to a view of 8/);
  assert.equal([...new Float32Array(await device.read(view))], [1, 2]);
  const [, , start, , , count] = gpu.take("copyBufferToBuffer")[0] ?? [];
  assert.equal([start, count], [256, 8]);
  assert.is(device.stats().allocations, 4, "three buffers, and one to read with");
});

test("buffers are destroyed after the commands that name them, and bind groups that name them are forgotten", () => {
  const { gpu, device, run } = workOn();
  const MIB = 2 ** 20;
  const leave = (mib: number): void => device.free(device.allocate("u32", (mib * MIB) / 4, "large"));
  for (const size of [128, 64, 48, 15]) leave(size);
  run(mixing([mix]));
  leave(16);
  assert.equal(
    gpu.take("submit", "destroy").map(([method]) => method),
    ["submit", "destroy"],
  );
  const { bindGroups } = device.stats();
  run(mixing([mix]));
  assert.is(device.stats().bindGroups, bindGroups + 1);
});

test("a closed device says so; closing waits for what is pending, once, and destroys whatever went wrong", async () => {
  const { gpu, device, slots, run } = workOn();
  const view = slots["x"] as BufferView;
  run(mixing([mix]));
  await device.close();
  await device.close();
  await device[Symbol.asyncDispose]();
  assert.equal(
    gpu.take("submit", "onSubmittedWorkDone", "destroy device").map(([method]) => method),
    [...["submit", "onSubmittedWorkDone", "destroy device"]],
  );
  for (const use of [
    () => device.allocate("f32", 1, "late"),
    () => device.write(view, new Float32Array(1)),
    () => run(mixing([mix])),
    () => void device.flush(),
  ])
    assert.throws(use, /the WebGPU device is closed/);
  assert.match(String(await failure(device.read(view))), /the WebGPU device is closed/);
  device.free(view.buffer);
  assert.is(device.stats().liveBuffers, 2);

  const other = workOn();
  other.faults.add("wrong numbers");
  assert.match(String(await failure(other.device[Symbol.asyncDispose]())), /wrong numbers/);
  assert.is(other.gpu.take("destroy device").length, 1);
});

test("flush and profile send what is pending and wait for it", async () => {
  for (const wait of ["flush", "profile"] as const) {
    const { gpu, device, run } = workOn();
    run(mixing([mix]));
    await device[wait]();
    assert.equal(
      gpu.take("submit", "onSubmittedWorkDone").map(([method]) => method),
      ["submit", "onSubmittedWorkDone"],
    );
  }
});

test.run();
