/** In which order the webgpu device sends what, when a batch of commands ends, and what comes back: told to a GPU that only listens. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Block } from "../engine/backends/webgpu/buffers.ts";
import { Faults } from "../engine/backends/webgpu/faults.ts";
import { type Dispatch, CommandQueue } from "../engine/backends/webgpu/queue.ts";
import { DeviceError } from "../engine/errors.ts";
import { FakeGpu } from "./support/fake_gpu.ts";

const test = suite("webgpu queue");

const MIB = 2 ** 20;
/** Dispatches that the arena holds parameters of. */
const ARENA = 4096;
const free = { flops: 0, bytes: 0 };

function open({ software = false, profile = false } = {}) {
  const gpu = new FakeGpu();
  const faults = new Faults(gpu.device);
  const queue = new CommandQueue(gpu.device, faults, { software, profile });
  const made = gpu.calls.splice(0);
  let id = 0;
  const block = (): Block => ({ id: ++id, gpu: { id } as never, size: 256, batch: -1, gone: false });
  const dispatch = (more: Partial<Dispatch> = {}): void =>
    queue.dispatch({
      ...{ label: "add", pipeline: "p" as never, bindGroup: "g" as never, groups: [1, 2, 3] },
      ...{ blocks: [], parameters: Uint32Array.of(7) },
      ...more,
    });
  return { gpu, faults, queue, made, block, dispatch };
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test("the arena is one uniform buffer; that it was refused is told later", async () => {
  const { made } = open();
  const arena = { label: "parameter arena", size: 256 * ARENA, usage: 64 | 8 };
  assert.equal(made, [
    ["addEventListener", "uncapturederror", made[0]?.[2]],
    ["pushErrorScope", "out-of-memory"],
    ["pushErrorScope", "validation"],
    ["createBuffer", arena],
    ["popErrorScope"],
    ["popErrorScope"],
  ]);
  const gpu = new FakeGpu();
  let errors = 0;
  gpu.answers["popErrorScope"] = () => Promise.resolve(errors++ === 0 ? { message: "no memory" } : null);
  const faults = new Faults(gpu.device);
  new CommandQueue(gpu.device, faults, { software: false, profile: false });
  const error = await failure(faults.settle());
  assert.instance(error, DeviceError);
  assert.is((error as Error).message, "parameter arena: no memory");
});

test("dispatches gather in one pass: parameters by offset, a pipeline set once, one submit", () => {
  const { gpu, queue, dispatch } = open();
  dispatch({ parameters: Uint32Array.of(7, 8) });
  dispatch({ groups: [4, 5, 6], parameters: Uint32Array.of(9) });
  dispatch({ pipeline: "q" as never });
  queue.submit();
  const [offsets, words] = [
    [0, 256, 512].map((offset) => Uint32Array.of(offset)),
    gpu.calls.find(([method]) => method === "writeBuffer")?.[3] as Uint32Array,
  ];
  assert.equal([...words.subarray(0, 3), words[64]], [7, 8, 0, 9]);
  const finished = gpu.calls.at(-1)?.[1];
  assert.equal(gpu.calls, [
    ["createCommandEncoder"],
    ["beginComputePass"],
    ["setPipeline", "p"],
    ["setBindGroup", 0, "g", offsets[0], 0, 1],
    ["dispatchWorkgroups", 1, 2, 3],
    ["setBindGroup", 0, "g", offsets[1], 0, 1],
    ["dispatchWorkgroups", 4, 5, 6],
    ["setPipeline", "q"],
    ["setBindGroup", 0, "g", offsets[2], 0, 1],
    ["dispatchWorkgroups", 1, 2, 3],
    ["end"],
    ["writeBuffer", queue.arena, 0, words, 0, 3 * 64],
    ["finish"],
    ["submit", finished],
  ]);
  assert.is((finished as object[]).length, 1);
  assert.equal([queue.dispatches, queue.submits], [3, 1]);

  gpu.calls.length = 0;
  queue.submit();
  assert.equal(gpu.calls, [], "nothing is pending");
  dispatch({ pipeline: "q" as never });
  assert.equal(gpu.take("setPipeline", "setBindGroup"), [
    ["setPipeline", "q"],
    ["setBindGroup", 0, "g", offsets[0], 0, 1],
  ]);
});

test("a batch that fails on the way is given up", () => {
  const { gpu, queue, dispatch } = open();
  dispatch();
  gpu.answers["end"] = () => {
    throw new Error("lost");
  };
  assert.throws(() => queue.submit(), /lost/);
  delete gpu.answers["end"];
  gpu.calls.length = 0;
  queue.submit();
  assert.equal(gpu.calls, []);
});

// Modest rates: https://www.w3.org/TR/webgpu/ knows no limit, Windows resets a GPU after two seconds.
for (const [software, flops, bytes] of [
  [true, 4e9, 4e9],
  [false, 2e11, 2e10],
] as const)
  test(`a batch holds a quarter of a second of ${software ? "a CPU" : "a GPU"}'s work, estimated`, () => {
    const second = { flops, bytes };
    for (const kind of ["flops", "bytes"] as const) {
      const { queue, dispatch } = open({ software });
      const work = (seconds: number): number => {
        queue.reserve(1, { ...free, [kind]: seconds * second[kind] });
        dispatch();
        return queue.submits;
      };
      assert.is(work(0.125), 0);
      assert.is(work(0.125), 0, "just a quarter");
      assert.is(work(0.001), 1, "more");
      assert.is(work(0.248), 1, "the next batch begins with what did not fit");
      assert.is(work(0.002), 2);
    }
  });

for (const [profile, most] of [
  [false, ARENA],
  [true, 2048],
] as const)
  test(`a batch holds ${most} dispatches${profile ? " with timestamps" : ""}`, () => {
    const { queue, dispatch } = open({ profile });
    for (let i = 0; i < most - 2; i++) dispatch();
    queue.reserve(2, free);
    assert.is(queue.submits, 0);
    queue.reserve(3, free);
    assert.is(queue.submits, 1);
  });

test("a kernel of more dispatches than the arena holds goes on in the next batch", () => {
  const { queue, dispatch } = open();
  queue.reserve(ARENA + 1, free);
  for (let i = 0; i < ARENA; i++) dispatch();
  assert.is(queue.submits, 0);
  dispatch();
  assert.equal([queue.submits, queue.dispatches], [1, ARENA + 1]);
});

test("a write waits for the batch that uses its buffer, and for no other", () => {
  const { gpu, queue, block, dispatch } = open();
  const [used, other] = [block(), block()];
  dispatch({ blocks: [used] });
  queue.write(other, 4, Uint8Array.of(1, 2, 3, 4));
  assert.is(queue.submits, 0);
  gpu.calls.length = 0;
  queue.write(used, 8, Uint8Array.of(1, 2, 3, 4));
  assert.is(queue.submits, 1);
  assert.equal(gpu.take("submit", "writeBuffer").slice(-1), [
    ["writeBuffer", used.gpu, 8, Uint8Array.of(1, 2, 3, 4), 0, 4],
  ]);
  dispatch();
  queue.write(used, 8, Uint8Array.of(1, 2, 3, 4));
  assert.is(queue.submits, 1, "the batch that used it is gone");
  queue.write(block(), 0, Uint8Array.of(1, 2, 3, 4));
  assert.is(queue.submits, 1, "no batch has used it");
});

test("a write that ends on half a word fills it up", () => {
  const { gpu, queue, block } = open();
  const to = block();
  const write = (...bytes: number[]) => {
    queue.write(to, 16, Uint8Array.from(bytes));
    return gpu.calls.splice(0).map(([, , ...rest]) => rest);
  };
  assert.equal(write(1, 2, 3, 4, 5, 6), [
    [16, Uint8Array.of(1, 2, 3, 4, 5, 6), 0, 4],
    [20, Uint8Array.of(5, 6, 0, 0)],
  ]);
  assert.equal(write(1, 2), [[16, Uint8Array.of(1, 2, 0, 0)]]);
  assert.equal(write(), []);
});

test("long writes go in pieces, and what is written without a batch is sent on", () => {
  const { gpu, queue, block, dispatch } = open();
  const to = block();
  const sent = (bytes: number) => {
    queue.write(to, 0, new Uint8Array(bytes));
    return gpu.calls
      .splice(0)
      .map(([method, ...rest]) => (method === "submit" ? rest : [rest[1], ...rest.slice(3)]));
  };
  assert.equal(sent(32 * MIB + 4), [
    [0, 0, 16 * MIB],
    [[]],
    [16 * MIB, 16 * MIB, 16 * MIB],
    [[]],
    [32 * MIB, 32 * MIB, 4],
  ]);
  assert.equal(sent(15 * MIB), [[0, 0, 15 * MIB]]);
  assert.equal(sent(MIB - 4), [[0, 0, MIB - 4], [[]]]);
  sent(15 * MIB);
  dispatch();
  queue.submit();
  gpu.calls.length = 0;
  assert.equal(sent(MIB), [[0, 0, MIB]], "a batch sent it on");
});

test("a read copies behind what is pending, and its buffers serve again", async () => {
  const { gpu, queue, block, dispatch } = open();
  gpu.answers["getMappedRange"] = (_from: number, size: number) =>
    Uint8Array.from({ length: size }, (_, i) => i + 1).buffer;
  assert.is((await queue.read(block(), 0, 0)).byteLength, 0);
  assert.equal(gpu.calls, []);
  const from = block();
  dispatch();
  assert.equal([...new Uint8Array(await queue.read(from, 8, 6))], [1, 2, 3, 4, 5, 6]);
  const copy = gpu.calls.find(([method]) => method === "copyBufferToBuffer");
  assert.equal(
    gpu
      .take("createBuffer", "end", "copyBufferToBuffer", "submit", "mapAsync", "getMappedRange", "unmap")
      .map(([name]) => name),
    ["createBuffer", "end", "copyBufferToBuffer", "submit", "mapAsync", "getMappedRange", "unmap"],
  );
  assert.equal([copy?.[1], copy?.[2], copy?.[4], copy?.[5]], [from.gpu, 8, 0, 8]);

  await queue.read(from, 0, 256);
  assert.equal(
    gpu.take("createBuffer", "createCommandEncoder", "writeBuffer", "mapAsync", "getMappedRange"),
    [["createCommandEncoder"], ["mapAsync", 1, 0, 256], ["getMappedRange", 0, 256]],
  );
  await Promise.all([queue.read(from, 0, 257), queue.read(from, 0, 512)]);
  const buffer = { label: "read-back of 512 bytes", size: 512, usage: 1 | 8 };
  assert.equal(gpu.take("createBuffer"), [
    ["createBuffer", buffer],
    ["createBuffer", buffer],
  ]);
  assert.equal([queue.stagingBuffers, queue.submits], [3, 4]);
});

test("a read that fails throws the cause where it is known, and its buffer is gone", async () => {
  const { gpu, faults, queue, block } = open();
  const cause = new Error("not mapped");
  gpu.answers["mapAsync"] = () => Promise.reject(cause);
  const unknown = (await failure(queue.read(block(), 0, 4))) as Error;
  assert.instance(unknown, DeviceError);
  assert.match(unknown.message, /^webgpu: 4 bytes cannot be read back: not mapped$/);
  assert.is(unknown.cause, cause);
  assert.is(gpu.take("destroy").length, 1);
  faults.add("no memory");
  assert.match(((await failure(queue.read(block(), 0, 4))) as Error).message, /^no memory$/);
  delete gpu.answers["mapAsync"];
  gpu.answers["getMappedRange"] = () => new ArrayBuffer(4);
  await queue.read(block(), 0, 4);
  assert.is(queue.stagingBuffers, 3);
  faults.add("wrong numbers");
  assert.match(((await failure(queue.read(block(), 0, 4))) as Error).message, /^wrong numbers$/);
});

test("finish sends what is pending, waits for it and throws what went wrong; without profile there are no times", async () => {
  const { gpu, faults, queue, made, dispatch } = open();
  assert.not.ok(made.some(([method]) => method === "createQuerySet"));
  dispatch();
  assert.equal(await queue.profile(), new Map());
  assert.equal(
    gpu.take("submit", "onSubmittedWorkDone").map(([method]) => method),
    ["submit", "onSubmittedWorkDone"],
  );
  faults.add("wrong");
  assert.match(((await failure(queue.finish())) as Error).message, /^wrong$/);
});

test("with profile each dispatch is a pass between two timestamps, summed by kernel", async () => {
  const { gpu, queue, made, dispatch } = open({ profile: true });
  assert.equal(made.slice(-5, -4).length, 1);
  assert.equal(
    made.filter(([method]) => method === "createQuerySet" || method === "createBuffer").slice(0, 2),
    [
      ["createQuerySet", { type: "timestamp", count: 4096 }],
      ["createBuffer", { label: "timestamps", size: 8 * 4096, usage: 512 | 4 }],
    ],
  );
  const stamps = BigUint64Array.of(5_000_000n, 6_000_000n, 7_000_000n, 9_500_000n, 0n, 3_000_000n);
  gpu.answers["getMappedRange"] = () => stamps.buffer;
  dispatch();
  dispatch({ label: "mul" });
  dispatch();
  const passes = gpu.take("beginComputePass", "end", "setPipeline");
  const writes = (call: number) =>
    (passes[call]?.[1] as { timestampWrites: Record<string, number> }).timestampWrites;
  assert.equal(
    passes.map(([method]) => method),
    [
      ...["beginComputePass", "setPipeline", "end", "beginComputePass", "setPipeline", "end"],
      ...["beginComputePass", "setPipeline"],
    ],
  );
  assert.is((passes[3]?.[1] as { label: string }).label, "mul");
  assert.equal(
    [0, 3, 6].map((call) => [writes(call)["beginningOfPassWriteIndex"], writes(call)["endOfPassWriteIndex"]]),
    [
      [0, 1],
      [2, 3],
      [4, 5],
    ],
  );
  const querySet = writes(0)["querySet"];
  const times = await queue.profile();
  assert.equal(
    times,
    new Map([
      ["add", { ms: 4, calls: 2 }],
      ["mul", { ms: 2.5, calls: 1 }],
    ]),
  );
  const sent = gpu.take(
    "resolveQuerySet",
    "createBuffer",
    "copyBufferToBuffer",
    "submit",
    "mapAsync",
    "destroy",
  );
  const [resolve, create, copy] = sent;
  assert.is(resolve?.[1], querySet);
  assert.equal([resolve?.[2], resolve?.[3], resolve?.[5]], [0, 6, 0]);
  assert.equal(create, ["createBuffer", { label: "timestamps read back", size: 48, usage: 1 | 8 }]);
  assert.equal([copy?.[1], copy?.[2], copy?.[4], copy?.[5]], [resolve?.[4], 0, 0, 48]);
  assert.equal(sent.map(([method]) => method).slice(3), ["submit", "mapAsync", "destroy"]);
  assert.equal(sent[4], ["mapAsync", 1]);

  assert.equal(await queue.profile(), new Map(), "they are taken");
  gpu.answers["getMappedRange"] = () => stamps.buffer.slice(16);
  dispatch({ label: "mul" });
  assert.equal(await queue.profile(), new Map([["mul", { ms: 2.5, calls: 1 }]]));
  gpu.calls.length = 0;
  gpu.answers["copyBufferToBuffer"] = () => undefined;
  gpu.answers["mapAsync"] = () => Promise.reject(new Error("not mapped"));
  dispatch();
  queue.submit();
  await new Promise((resolve) => setTimeout(resolve)); // an unhandled rejection would end the process
  assert.match(((await failure(queue.profile())) as Error).message, /^not mapped$/);
  assert.is(gpu.take("destroy").length, 1);
});

test("a batch of copies alone has no timestamps", async () => {
  const { gpu, queue, block } = open({ profile: true });
  gpu.answers["getMappedRange"] = () => new ArrayBuffer(4);
  await queue.read(block(), 0, 4);
  assert.equal(gpu.take("resolveQuerySet", "writeBuffer"), []);
});

test.run();
