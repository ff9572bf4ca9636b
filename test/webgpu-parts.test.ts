/** Memory, pipelines, shader texts and errors of the webgpu device, on a GPU that only listens: no adapter is needed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BufferPool, type WebGpuBuffer } from "../engine/backends/webgpu/buffers.ts";
import { Faults } from "../engine/backends/webgpu/faults.ts";
import { Pipelines, type Range } from "../engine/backends/webgpu/pipelines.ts";
import { ShaderText } from "../engine/backends/webgpu/sources.ts";
import { DeviceError, DeviceLostError, DisposedError } from "../engine/errors.ts";
import { wgsl } from "../kernels/build/wgsl.ts";
import { FakeGpu } from "./support/fake_gpu.ts";

const test = suite("webgpu parts");
const MIB = 2 ** 20;

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("nothing"),
    (error: unknown) => error as Error,
  );
}

/** Has the nth error scope that ends from now on hold this error. */
function reportAt(gpu: FakeGpu, ...messages: readonly (string | null)[]): void {
  const left = [...messages];
  gpu.answers["popErrorScope"] = () => {
    const message = left.shift() ?? null;
    return Promise.resolve(message === null ? null : { message });
  };
}

function openPool(facts: object = {}) {
  const gpu = new FakeGpu(facts);
  const faults = new Faults(gpu.device);
  const pool = new BufferPool(gpu.device, faults, () => gpu.calls.push(["before destroying"]));
  /** Of so many bytes. */
  const take = (bytes: number, label = `${bytes}`): WebGpuBuffer => pool.allocate("u32", bytes / 4, label);
  /** Those of the pool, taken and given back, one after the other. */
  const leave = (...mib: readonly number[]): void => {
    for (const size of mib) pool.free(take(size * MIB));
  };
  /** Sizes of the buffers that were made since, and destroyed, in MiB. */
  const made = (): number[] =>
    gpu.take("createBuffer").map(([, given]) => (given as { size: number }).size / MIB);
  return { gpu, faults, pool, take, leave, made };
}

test("a buffer is at most an eighth larger than asked for, and never than the adapter allows", () => {
  const { gpu, pool, take } = openPool({ limits: { maxBufferSize: 5120 } });
  for (const [bytes, size] of [
    ...[
      [0, 256],
      [4, 256],
      [256, 256],
      [260, 512],
      [4096, 4096],
      [4100, 4608],
      [4868, 5120],
      [5116, 5120],
    ],
  ] as const) {
    gpu.calls.length = 0;
    const { liveBytes } = pool;
    const buffer = take(bytes, "some numbers");
    assert.equal(gpu.take("createBuffer"), [
      ["createBuffer", { size, usage: 128 | 4 | 8, label: "some numbers" }],
    ]);
    assert.is(buffer.block.size, size);
    assert.is(pool.liveBytes, liveBytes + size);
  }
  assert.throws(() => take(5124), /5124: 5124 bytes are more than one buffer/);
  const tight = openPool({ limits: { maxBufferSize: 5004 } });
  assert.is(tight.pool.allocate("f16", 2499, "odd").block.size, 5000);
});

test("a class hands out its oldest free block; what is live is counted", () => {
  const { pool, take } = openPool();
  const [a, b, c] = [take(256), take(256), take(256)];
  const blocks = [a, b, c].map(({ block }) => block);
  const [first, second, third] = blocks;
  assert.equal([pool.liveBuffers, pool.liveBytes, pool.peakBytes, pool.allocations], [3, 768, 768, 3]);
  for (const buffer of [b, a, c]) pool.free(buffer);
  assert.equal([pool.liveBuffers, pool.liveBytes, pool.peakBytes, pool.allocations], [0, 0, 768, 3]);
  const again = [take(4), take(8), take(12)];
  assert.ok(again.every(({ block }, i) => block === blocks[i]));
  assert.equal([pool.liveBuffers, pool.allocations, pool.peakBytes], [3, 3, 768]);
  for (const i of [2, 0, 1]) pool.free(again[i] as WebGpuBuffer);
  assert.ok([first, second, third].every((block) => take(4).block === block));
  assert.is.not(take(4).block.id, third?.id);
});

test("a buffer that was given back is no longer one", () => {
  const { pool, take } = openPool();
  const buffer = take(256, "gone");
  assert.is(buffer.block.batch, -1, "no batch uses it");
  pool.free(buffer);
  assert.throws(
    () => buffer.block,
    (error: unknown) => error instanceof DisposedError,
  );
  assert.throws(() => pool.free(buffer), /gone/);
  assert.is(pool.liveBuffers, 0);
});

test("the pool holds 1.5 times the most that was live, and 64 MiB; beyond, the largest free blocks go first", () => {
  const { gpu, leave, made } = openPool();
  leave(128, 64, 48, 16);
  assert.equal(gpu.take("before destroying", "destroy"), [], "256 = 1.5 · 128 + 64");
  leave(1);
  assert.equal(
    gpu.calls.map(([method]) => method).filter((method) => /destr/.test(method)),
    ["before destroying", "destroy"],
  );
  gpu.calls.length = 0;
  leave(64, 48, 16, 1);
  assert.equal(made(), [], "they are there still");
  leave(128);
  assert.equal(made(), [128], "it is not");
});

test("what is about to be live counts for the bound", () => {
  const { gpu, leave, take } = openPool();
  leave(48);
  const held = take(96 * MIB);
  take(88 * MIB);
  assert.equal(gpu.take("destroy"), []);
  assert.ok(held.block);
});

test("as many go as are needed: of a class the youngest first, then smaller ones", () => {
  const { gpu, pool, take, leave } = openPool();
  const several = (count: number, mib: number): void => {
    const buffers = Array.from({ length: count }, () => take(mib * MIB, `${mib}`));
    for (const buffer of buffers) pool.free(buffer);
  };
  several(8, 8);
  several(8, 7.5);
  several(5, 7);
  assert.equal(gpu.take("destroy"), [], "159 ≤ 1.5 · 64 + 64");
  leave(24);
  assert.is(gpu.take("destroy").length, 3);
  const left = Array.from({ length: 5 }, () => take(8 * MIB));
  assert.equal(
    left.map(({ block }) => block.id),
    [1, 2, 3, 4, 5],
  );
  for (const buffer of left) pool.free(buffer);
  leave(72);
  assert.is(gpu.take("destroy").length, 1 + 5 + 2, "of 24, 8 and 7.5: 79 MiB");
});

test("a buffer that is refused at once says how much was held, and why", async () => {
  const { gpu, faults, pool, take } = openPool();
  take(512);
  const cause = new RangeError("too much");
  gpu.answers["createBuffer"] = () => {
    throw cause;
  };
  reportAt(gpu, "no memory");
  let error: unknown;
  try {
    take(1024, "numbers");
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, DeviceError);
  assert.is((error as Error).message, "numbers: cannot allocate 1024 bytes (512 held already): too much");
  assert.is((error as Error).cause, cause);
  assert.equal([pool.liveBuffers, pool.allocations], [1, 1]);
  assert.is(
    (await failure(faults.settle())).message,
    "numbers: cannot allocate 1024 bytes (512 held already): no memory",
  );
  assert.equal(gpu.take("pushErrorScope").slice(2), [
    ["pushErrorScope", "out-of-memory"],
    ["pushErrorScope", "validation"],
  ]);
});

test("a buffer that is refused later is handed out no more, and counts once", async () => {
  for (const [early, beside] of [
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ] as const) {
    const { gpu, faults, pool, take } = openPool();
    const kept = take(256);
    pool.free(take(1024));
    const other = take(512);
    reportAt(gpu, "no memory", "invalid");
    const refused = take(512, "numbers");
    const { block } = refused;
    reportAt(gpu);
    const free = other.block;
    if (beside) pool.free(other);
    if (early) pool.free(refused);
    assert.is(
      (await failure(faults.settle())).message,
      ["no memory", "invalid"]
        .map((why) => `numbers: cannot allocate 512 bytes (1792 held already): ${why}`)
        .join("\n"),
    );
    if (!early) pool.free(refused);
    assert.is(pool.liveBytes, kept.block.size + (beside ? 0 : 512));
    if (beside) assert.is(take(512).block, free);
    assert.is.not(take(512).block, block);
  }
});

const shaders: Record<string, string> = {
  "test/add.wgsl": `
    // @group(0) @binding(9) var<storage, read> old: array<f32>; // no longer
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0)@binding(1)var<storage,read>x:array<f32>;
    @group(0)  @binding(3)  var<  storage  ,  read_write  >  sum  : array<f32>;
    @group(0) // the second
    @binding(2) var<storage> y: array<f32>;`,
  "test/nothing.wgsl": "fn main() {}",
  "test/same.wgsl": `@group(0) @binding(2) var<storage, read> b: array<f32>;
    @group(0) @binding(1) var<storage, read> a: array<f32>; @group(0) @binding(3) var<storage, read_write> c: array<f32>;`,
  "test/twice.wgsl": `@group(0) @binding(1) var<storage, read> a: array<f32>;
    @group(0) @binding(1) var<storage, read> b: array<f32>;`,
  "test/gap.wgsl": `@group(0) @binding(1) var<storage, read> a: array<f32>;
    @group(0) @binding(3) var<storage, read> c: array<f32>;`,
  "test/ten.wgsl": Array.from(
    { length: 10 },
    (_, i) => `@group(0) @binding(${i + 1}) var<storage, read> slot_${i + 1}: array<f32>;`,
  ).join("\n"),
  "test/weighing.wgsl":
    "//!use \t test/lib.wgsl and more\n@group(0) @binding(1) var<storage, read> w  :  array<u32>;\nfn main() {}",
  "test/dense.wgsl": "var<storage> w:array<u32>;",
  "test/new.wgsl": "var<storage> new: array<u32>;",
  "test/lib.wgsl":
    "//!use test/base.wgsl\n  enable f16;\n//!use test/base.wgsl\nfn lib() {} // enable f16;\n //!use test/none.wgsl\n",
  "test/base.wgsl": "enable f16;\nrequires a, b;\nfn enable_all() {}\nenabled;\n",
};
test.before(() => void Object.assign(wgsl, shaders));
test.after(() => {
  for (const name of Object.keys(shaders)) Reflect.deleteProperty(wgsl, name);
});

function openPipelines(limit = 8) {
  const gpu = new FakeGpu({ limits: { maxStorageBuffersPerShaderStage: limit } });
  const faults = new Faults(gpu.device);
  const arena = { label: "arena" } as GPUBuffer;
  return { gpu, faults, arena, pipelines: new Pipelines(gpu.device, faults, arena) };
}
const pass = (source: string, more: object = {}) => ({
  source: `test/${source}.wgsl`,
  groups: [1, 1, 1] as const,
  ...more,
});
const add = ["x", "y", "sum"];

test("a pipeline is made once for its source, its constants and the weight's format", () => {
  const { gpu, pipelines } = openPipelines();
  const one = pipelines.get(pass("add", { overrides: { TILE: 8, WG: 4 } }), add, undefined);
  assert.equal([one.access, one.label], ["rrw", "test/add.wgsl ,TILE=8,WG=4"]);
  const [[, module], [, layout], [, pipeline], [, group]] = [
    ...["createShaderModule", "createPipelineLayout", "createComputePipeline", "createBindGroupLayout"],
  ].map((name) => gpu.calls.find(([method]) => method === name) ?? []) as [Given, Given, Given, Given];
  const { label } = one;
  assert.equal(module, { label, code: new ShaderText("test/add.wgsl").text });
  assert.equal(layout["label"], label);
  assert.is((layout["bindGroupLayouts"] as unknown[])[0], one.layout);
  const { compute } = pipeline as { compute: Record<string, unknown> };
  assert.equal(
    [pipeline["label"], compute["entryPoint"], compute["constants"]],
    [label, "main", { TILE: 8, WG: 4 }],
  );
  assert.equal(compute["module"], module);
  assert.equal(pipeline["layout"], layout);
  assert.equal(group, {
    label: "rrw",
    entries: [
      { binding: 0, visibility: 4, buffer: { hasDynamicOffset: true } },
      { binding: 1, visibility: 4, buffer: { type: "read-only-storage" } },
      { binding: 2, visibility: 4, buffer: { type: "read-only-storage" } },
      { binding: 3, visibility: 4, buffer: { type: "storage" } },
    ],
  });
  assert.equal(gpu.take("pushErrorScope"), [
    ["pushErrorScope", "validation"],
    ["pushErrorScope", "internal"],
  ]);
  assert.is(pipelines.get(pass("add", { overrides: { TILE: 8, WG: 4 } }), add, undefined), one);
  const others = [
    pipelines.get(pass("add", { overrides: { TILE: 8, WG: 5 } }), add, undefined),
    pipelines.get(pass("add"), add, undefined),
    pipelines.get(pass("same"), ["a", "b", "c"], undefined),
    pipelines.get(pass("add"), add, "f16"),
  ];
  assert.is(new Set([one, ...others]).size, 5);
  assert.is(pipelines.pipelinesMade, 5);
  assert.is(gpu.take("createBindGroupLayout").length, 0, "all have the same");
  assert.equal(others.map(({ label }) => label).slice(1), [
    "test/add.wgsl ",
    "test/same.wgsl ",
    "test/add.wgsl f16",
  ]);
});
type Given = [string, Record<string, unknown>];

test("the bindings of a shader must be the declaration's, as many as the adapter allows", () => {
  const { pipelines } = openPipelines();
  const get = (name: string, names: readonly string[], more: object = {}) =>
    pipelines.get(pass(name, more), names, undefined).access;
  assert.throws(
    () => get("add", ["x", "sum", "y"]),
    /test\/add\.wgsl: binding \d is \w+, the declaration has \w+ there/,
  );
  assert.is(
    get("add", ["x", "sum", "y"], { bindings: ["x", "sum", "y"] }),
    "rrw",
    "a pass names them as it likes",
  );
  assert.throws(() => get("same", ["a", "b"]), /the declaration has none there/);
  assert.throws(() => get("same", ["a", "b", "c", "d"]), /3 storage bindings, the declaration has 4/);
  for (const [name, count] of [
    ["twice", 1],
    ["twice", 2],
    ["gap", 2],
    ["gap", 3],
  ] as const) {
    const bindings = ["a", "b", "c"].slice(0, count);
    assert.throws(() => get(name, bindings, { bindings }), /2 storage bindings, the declaration has \d/);
  }
  assert.is(get("nothing", []), "");
  const ten = Array.from({ length: 10 }, (_, i) => `slot_${i + 1}`);
  assert.throws(() => get("ten", ten), /10 storage bindings in one kernel; this adapter allows 8/);
  assert.is(openPipelines(10).pipelines.get(pass("ten"), ten, undefined).access, "r".repeat(10));
});

test("a pipeline that the GPU refuses later is forgotten, and the lines of its shader are told", async () => {
  const { gpu, faults, pipelines } = openPipelines();
  const get = () => pipelines.get(pass("add"), add, undefined);
  reportAt(gpu, "invalid");
  gpu.answers["getCompilationInfo"] = () =>
    Promise.resolve({
      messages: [
        { type: "warning", lineNum: 1, linePos: 1, message: "unused" },
        { type: "error", lineNum: 3, linePos: 9, message: "no Params" },
        { type: "error", lineNum: 4, linePos: 1, message: "no x" },
      ],
    });
  const first = get();
  assert.is(
    (await failure(faults.settle())).message,
    "kernels/test/add.wgsl:3:9: no Params\nkernels/test/add.wgsl:4:1: no x",
  );
  assert.is.not(get(), first);
  assert.is(get(), get());

  const other = openPipelines();
  reportAt(other.gpu, "invalid");
  other.gpu.answers["getCompilationInfo"] = () => Promise.resolve({ messages: [{ type: "info" }] });
  other.pipelines.get(pass("add"), add, undefined);
  assert.is((await failure(other.faults.settle())).message, "test/add.wgsl : invalid");
  reportAt(other.gpu, "out of memory");
  other.gpu.answers["createShaderModule"] = () => {
    throw new Error("at once");
  };
  assert.throws(() => other.pipelines.get(pass("same"), ["a", "b", "c"], undefined), /^at once$/);
  assert.is((await failure(other.faults.settle())).message, "test/same.wgsl : out of memory");
});

test("a bind group is made once for what it binds, and found again for two generations", () => {
  const { gpu, arena, pipelines } = openPipelines();
  const compiled = pipelines.get(pass("add"), add, undefined);
  const range = (id: number, offset = 256, size = 16): Range => ({
    ...{ block: { id, gpu: { id } as never, size: 1024, batch: -1, gone: false }, offset, size },
  });
  gpu.calls.length = 0;
  const group = pipelines.bindGroup(compiled, [range(1), range(2, 0, 64)]);
  assert.equal(gpu.calls, [
    [
      "createBindGroup",
      {
        layout: compiled.layout,
        entries: [
          { binding: 0, resource: { buffer: arena, size: 256 } },
          { binding: 1, resource: { buffer: { id: 1 }, offset: 256, size: 16 } },
          { binding: 2, resource: { buffer: { id: 2 }, offset: 0, size: 64 } },
        ],
      },
    ],
  ]);
  const [, { layout }] = gpu.calls[0] as Given;
  assert.is(layout, compiled.layout);
  assert.is(pipelines.bindGroup(compiled, [range(1), range(2, 0, 64)]), group);
  const made = (body: () => void): number => {
    const before = pipelines.bindGroupsMade;
    body();
    return pipelines.bindGroupsMade - before;
  };
  for (const others of [
    [range(1)],
    [range(1), range(3, 0, 64)],
    [range(1), range(2, 16, 64)],
    [range(1), range(2, 0, 32)],
  ])
    assert.is(
      made(() => pipelines.bindGroup(compiled, others)),
      1,
    );
  assert.is(
    made(() => pipelines.bindGroup({ ...compiled, access: "rww" }, [range(1)])),
    1,
  );

  pipelines.forgetBindGroups();
  const [GENERATION, of] = [8192, (id: number) => pipelines.bindGroup(compiled, [range(id)])];
  const fill = (from: number, count: number) =>
    made(() => {
      for (let i = 0; i < count; i++) of(from + i);
    });
  assert.is(fill(0, 2 * GENERATION + 1), 2 * GENERATION + 1);
  assert.is(fill(0, 1), 1, "two generations came after it");
  pipelines.forgetBindGroups();
  assert.is(fill(0, 2 * GENERATION), 2 * GENERATION);
  assert.is(fill(1, 1), 0, "the older generation is known");
  assert.is(fill(2 * GENERATION, 1), 1);
  assert.is(fill(1, 1), 0, "used again, it is of the newer one");
  assert.is(fill(GENERATION, 1), 0);
  assert.is(fill(0, 1), 1, "two generations ago");
  pipelines.forgetBindGroups();
  assert.equal([fill(GENERATION + 1, 1), fill(0, 1)], [1, 1]);
});

test("a line of a shader's text is found in the file that it is of", () => {
  for (const path of Object.keys(wgsl)) {
    const shader = new ShaderText(path, "q4_0");
    const used = [...(wgsl[path] ?? "").matchAll(/^\/\/!use\s+(\S+)/gm)].map(([, name]) => name);
    for (const name of used.filter((name) => name !== "test/none.wgsl"))
      assert.ok(shader.files.includes(name ?? ""));
    assert.is(new Set(shader.files).size, shader.files.length, "each once");
    assert.is(shader.files.at(-1), path);
    const lines = shader.text.split("\n");
    for (const [i, line] of lines.entries()) {
      if (/^(enable|requires)\b/.test(line)) continue;
      const [, file = "", number] = /^kernels\/(.+):(\d+)$/.exec(shader.locate(i + 1)) ?? [];
      const original = wgsl[file]?.split("\n")[Number(number) - 1] ?? "";
      const enables = /^ *(enable|requires) /.test(original);
      assert.is(line, enables ? "" : original, `${path}: line ${i + 1}`);
    }
    assert.is(shader.locate(lines.length + 1), `line ${lines.length + 1}`);
  }
});

test("a shader begins with what it enables, then come the files that it uses, once each, its weight's format first", () => {
  const { text, files } = new ShaderText("test/weighing.wgsl", "f16");
  assert.equal(
    files,
    ["formats/f16/f16.wgsl", "test/base.wgsl", "test/lib.wgsl", "test/weighing.wgsl"].filter((name) =>
      files.includes(name),
    ),
  );
  assert.ok(files.includes("test/base.wgsl") && files.includes("formats/f16/f16.wgsl"));
  assert.ok(text.startsWith("enable f16;\nrequires a, b;\n"), text.slice(0, 60));
  assert.ok(text.includes("fn enable_all() {}\nenabled;\n"));
  assert.ok(text.includes("fn lib() {} // enable f16;\n"));
  assert.is(text.match(/^ *enable f16/gm)?.length, 1);
  assert.is(new ShaderText("test/weighing.wgsl").files[0], "formats/f32/f32.wgsl");
  assert.equal(new ShaderText("test/dense.wgsl", "f16").files.includes("formats/f16/f16.wgsl"), true);
  assert.equal(new ShaderText("test/new.wgsl", "f16").files, ["test/new.wgsl"]);
  assert.throws(() => new ShaderText("test/nowhere.wgsl"), /kernels\/test\/nowhere\.wgsl: no such shader/);
});

test("errors of the GPU are kept until the work is settled, and told once", async () => {
  const gpu = new FakeGpu();
  const faults = new Faults(gpu.device);
  assert.not.ok(gpu.report(" no scope\n"), "Dawn prints no more of it");
  assert.is((await failure(faults.settle())).message, "no scope");
  await faults.settle();

  gpu.calls.length = 0;
  let late: (error: object | null) => void = () => undefined;
  gpu.answers["popErrorScope"] = () => new Promise((resolve) => (late = resolve));
  assert.is(
    faults.guard(
      ["validation"],
      () => (gpu.device.createBuffer({} as never), "made"),
      (message) => Promise.resolve(`told: ${message}`),
    ),
    "made",
  );
  assert.equal(gpu.calls, [["pushErrorScope", "validation"], ["createBuffer", {}], ["popErrorScope"]]);
  const settled = failure(faults.settle());
  late({ message: "late" });
  assert.is((await settled).message, "told: late");
  await faults.settle();

  gpu.answers["popErrorScope"] = () => Promise.reject(new Error("scope lost"));
  faults.guard(
    ["internal"],
    () => undefined,
    () => "never",
  );
  assert.match((await failure(faults.settle())).message, /scope lost/);
  assert.throws(
    () =>
      faults.guard(
        ["internal"],
        () => {
          throw new Error("at once");
        },
        () => "never",
      ),
    /^at once$/,
  );
  assert.match((await failure(faults.settle())).message, /scope lost/);
  faults.assertAlive();
});

test("of what a GPU reports, the cause is told, not what follows from it", async () => {
  const faults = new Faults(new FakeGpu().device);
  const said = async (...messages: string[]): Promise<string> => {
    for (const message of messages) faults.add(message);
    return (await failure(faults.settle())).message;
  };
  const follows = ['[Invalid ComputePipeline "add"] is invalid.', "invalid due to a previous error."];
  assert.is(await said(...follows, "no such entry point\n", "no such entry point"), "no such entry point");
  assert.is(
    await said(...follows, 'no bind group for [Invalid Buffer "x"]'),
    'no bind group for [Invalid Buffer "x"]',
  );
  assert.is(await said(...follows), follows.join("\n"));
  assert.is(await said(), "nothing");
});

test("a device that is lost says so from then on, one that is closed does not wonder", async () => {
  const gpu = new FakeGpu();
  const faults = new Faults(gpu.device);
  faults.add("follows from it");
  gpu.lose({ reason: "unknown", message: "driver reset" });
  await Promise.resolve();
  const said = "the WebGPU device was lost (unknown): driver reset";
  for (const error of [await failure(faults.settle()), await failure((async () => faults.assertAlive())())]) {
    assert.instance(error, DeviceLostError);
    assert.match(error.message, said);
  }
  const other = new FakeGpu();
  const closing = new Faults(other.device);
  closing.close();
  other.lose({ reason: "destroyed", message: "" });
  await Promise.resolve();
  await closing.settle();
  assert.throws(
    () => closing.assertAlive(),
    (error: unknown) => error instanceof DeviceError && !(error instanceof DeviceLostError),
  );
});

test.run();
