/** The small parts of the engine, each alone: what owns memory, what counts, what checks, how tensors divide and join. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BackendBuffer, KernelTimes, checkRun, checkWindow, checkWrite } from "../engine/backends/common.ts";
import { DisposableStack } from "../engine/disposables.ts";
import {
  BadInputError,
  DTypeError,
  DeviceError,
  DeviceLostError,
  DisposedError,
  ShapeError,
} from "../engine/errors.ts";
import "../engine/fluent.ts";
import { Meter } from "../engine/meter.ts";
import { defineOp } from "../engine/op.ts";
import { add, reshape, rmsNorm, rows, swiglu } from "../engine/ops/index.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { Parameters } from "../engine/parameters.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { type Tensor, allocate, canDivide, joined } from "../engine/tensor.ts";
import { accumulate } from "../kernels/add/add.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";
import { ReferenceDevice } from "./support/reference_device.ts";

const tests = suite("engine parts");
const device = new ReferenceDevice();
const live = (): number => device.stats().liveBuffers;
const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];

tests("a stack undoes everything, the newest first, whatever fails", () => {
  const order: string[] = [];
  const undo = (name: string, failure?: Error) => (): void => {
    order.push(name);
    if (failure) throw failure;
  };
  const stack = new DisposableStack();
  stack.defer(undo("a"));
  assert.type(stack.use({ [Symbol.dispose]: undo("b") }), "object");
  const moved = stack.move();
  stack[Symbol.dispose]();
  assert.equal(order, []);
  moved[Symbol.dispose]();
  moved[Symbol.dispose]();
  assert.equal(order.splice(0), ["b", "a"]);
  const [one, two] = [new Error("one"), new Error("two")];
  const failing = (...failures: readonly Error[]): unknown => {
    const owned = new DisposableStack();
    owned.defer(undo("last"));
    for (const failure of failures) owned.defer(undo(failure.message, failure));
    try {
      owned[Symbol.dispose]();
    } catch (error) {
      return error;
    }
    return null;
  };
  assert.is(failing(), null);
  assert.is(failing(one), one);
  const both = failing(one, two);
  assert.instance(both, AggregateError);
  assert.equal((both as AggregateError).errors, [two, one]);
  assert.equal(order, ["last", "one", "last", "two", "one", "last"]);
});

tests("times and arithmetic are summed by kernel", async () => {
  const times = new KernelTimes();
  times.add("a", 2);
  times.add("b", 5);
  times.add("a", 1.5);
  assert.equal(
    [...times.take()],
    [
      ["a", { ms: 3.5, calls: 2 }],
      ["b", { ms: 5, calls: 1 }],
    ],
  );
  assert.equal([...times.take()], []);

  const meter = new Meter();
  const now = performance.now.bind(performance);
  let clock = 1000;
  performance.now = () => clock;
  try {
    const spend = (ms: number): Promise<void> => Promise.resolve(void (clock += ms));
    await meter.timed(() => spend(500));
    clock += 10_000; // nobody's
    await meter.timed(async () => {
      await spend(250);
      assert.is(meter.seconds, 0.75);
    });
    assert.is(meter.seconds, 0.75);
    const failing = meter.timed(() => spend(250).then(() => Promise.reject(new Error("no luck"))));
    await failing.then(
      () => assert.unreachable(),
      () => undefined,
    );
    assert.is(meter.seconds, 1);
    meter.add("a", { flops: 3, bytes: 8 });
    meter.add("a", { flops: 4, bytes: 16 });
    meter.add("b", { flops: 10, bytes: 1 });
    assert.equal(meter.kernels.get("a"), { calls: 2, flops: 7, bytes: 24 });
    assert.equal([meter.flops, meter.bytes], [17, 25]);
    await meter.timed(async () => {
      await spend(100);
      meter.reset();
      await spend(50);
    });
    assert.equal([meter.seconds, meter.flops, meter.bytes, meter.kernels.size], [0.05, 0, 0, 0]);
    clock += 10_000;
    meter.reset();
    assert.is(meter.seconds, 0);
  } finally {
    performance.now = now;
  }
});

tests("a call's bytes count a weight as it is stored", () => {
  const task = new Task(device);
  using _scope = task.scope();
  // 32 values of q8_0 are 32 bytes and a float16
  for (const [dtype, stored] of [
    ["f32", 4 * 64],
    ["q8_0", 2 * 34],
  ] as const) {
    task.meter.reset();
    task.run(matmul_nt, { a: task.empty([1, 32]), w: task.empty([2, 32], dtype) }, { alpha: 1 });
    assert.is(task.meter.kernels.get("matmul_nt")?.bytes, 4 * 32 + stored + 4 * 2);
  }
});

tests("views lie within their buffers, writes within their views, and slots are there", () => {
  const buffer = new BackendBuffer("f32", 10, "ten");
  assert.is(buffer.bytes, 40);
  for (const [offset, length] of [
    [0, 10],
    [10, 0],
    [3, 7],
  ] as const)
    checkWindow({ buffer, offset, length });
  for (const [offset, length] of [
    [-1, 2],
    [0, 11],
    [3, -1],
    [8, 3],
  ] as const)
    assert.throws(
      () => checkWindow({ buffer, offset, length }),
      new RegExp(`ten: elements \\[${offset}, ${offset + length}\\) of 10`),
    );
  checkWrite({ buffer, offset: 6, length: 3 }, 12);
  assert.throws(
    () => checkWrite({ buffer, offset: 6, length: 3 }, 13),
    /ten: 13 bytes written to a view of 12/,
  );
  const x = { buffer, offset: 0, length: 4 };
  const call = { kernel: accumulate, dims: { N: 4 }, params: { alpha: 1 } };
  assert.throws(() => checkRun({ ...call, slots: { x } }), /slot y is not given/);
  checkRun({ ...call, slots: { x, y: { ...x, buffer: new BackendBuffer("f32", 4, "y") } } });
});

tests("memory goes back to the device with its last holder, once", () => {
  const x = allocate(device, [4], "f32", "held");
  const { storage } = x;
  const view = x.alias([2, 2]);
  assert.is(storage.references, 2);
  x.dispose();
  x.dispose();
  assert.equal([storage.references, live()], [1, 1]);
  assert.throws(
    () => x.view,
    (e: unknown) => e instanceof DisposedError,
  );
  assert.throws(
    () => x.storage,
    (e: unknown) => e instanceof DisposedError,
  );
  view.dispose();
  assert.equal([storage.references, live()], [0, 0]);
  assert.throws(
    () => storage.retain(),
    (e: unknown) => e instanceof DisposedError,
  );
  assert.throws(
    () => storage.release(),
    (e: unknown) => e instanceof DisposedError,
  );
});

tests("a scope frees what it made, but what it hands on", () => {
  const task = new Task(device);
  const outer = task.scope();
  const inner = task.scope();
  const [freed, kept, detached] = [task.empty([1]), task.empty([1]), task.empty([1])];
  assert.is(inner.keep(kept), kept);
  assert.is(inner.detach(detached), detached);
  inner[Symbol.dispose]();
  assert.equal(
    [freed, kept, detached].map((x) => x.disposed),
    [true, false, false],
  );
  outer[Symbol.dispose]();
  assert.equal([kept.disposed, detached.disposed, live()], [true, false, 1]);
  detached.dispose();
  const foreign = allocate(device, [1], "f32", "no scope has it");
  const own = task.empty([1]);
  const last = task.scope();
  last.detach(own); // out of the scope around it, too
  assert.is(last.detach(foreign), foreign);
  foreign.dispose();
  last[Symbol.dispose]();
  task.dispose();
  assert.not(own.disposed);
  own.dispose();
});

tests("a view lies within its tensor; one element has a value; what it is stands in its name", async () => {
  using task = new Task(device);
  const x = task.tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    [2, 3],
    "six",
  );
  using last = x.alias([2], 4);
  assert.equal(await values(last), [5, 6]);
  using one = last.alias([1], 1);
  assert.is(await one.item(), 6);
  for (const [shape, offset] of [
    [[2], 5],
    [[7], 0],
    [[1], -1],
    [[1], 0.5],
  ] as const)
    assert.throws(
      () => x.alias(shape, offset),
      (e: unknown) => e instanceof ShapeError,
    );
  for (const attempt of [x.item(), x.ints()])
    await attempt.then(
      () => assert.unreachable(),
      (e: unknown) => assert.ok(e instanceof ShapeError || e instanceof DTypeError),
    );
  const ids = task.tensor(Int32Array.of(7));
  assert.is(await ids.item(), 7);
  await ids.data().then(
    () => assert.unreachable(),
    (e: unknown) => assert.instance(e, DTypeError),
  );
  assert.is(x.toString(), 'Tensor f32[2, 3] "six" on reference');
  x.requiresGrad = true;
  assert.match(x.toString(), /on reference, requires a gradient$/);
  x.dispose();
  assert.match(x.toString(), /on reference, disposed of$/);
});

tests("rows of blocks are whole blocks", () => {
  for (const [shape, fits] of [
    [[2, 64], true],
    [[2, 33], false],
    [[32], true],
    [[31], false],
  ] as const) {
    const make = (): void => allocate(device, shape, "q8_0", "blocks").dispose();
    if (fits) make();
    else assert.throws(make, /q8_0 rows hold multiples of 32/);
  }
});

tests("matrices that lie one after the other are one; others are not", async () => {
  using task = new Task(device);
  const flat = task.tensor(Float32Array.from({ length: 12 }, (_, i) => i));
  using a = flat.alias([2, 3], 0);
  using b = flat.alias([1, 3], 6);
  using c = flat.alias([1, 3], 9);
  using both = joined([a, b, c]);
  assert.ok(both);
  assert.equal(both.shape, [4, 3]);
  assert.equal(await values(both), await values(flat));
  using other = flat.alias([3, 2], 6);
  using line = flat.alias([3], 6);
  const apart = task.tensor([[6, 7, 8]]);
  for (const parts of [[], [b, a], [a, c], [a, other], [a, line], [line], [a, apart]])
    assert.is(joined(parts), null);
  const aligned = Object.create(device, { viewAlignment: { value: 64 } }) as ReferenceDevice;
  assert.ok(canDivide(aligned, "f32", [64, 128, 5]));
  assert.not(canDivide(aligned, "f32", [64, 5, 128]));
  assert.ok(canDivide(aligned, "f32", []));
});

tests("rows, and the chained names of ops", async () => {
  using task = new Task(device);
  const x = task.tensor([
    [1, 2],
    [3, 4],
    [5, 6],
  ]);
  assert.equal(await values(rows(x, { from: 0, to: 2 })), [1, 2, 3, 4]);
  assert.equal(await values(rows(x, { from: 0 })), [1, 2, 3, 4, 5, 6]);
  assert.equal(rows(x, { from: 3 }).shape, [0, 2]);
  assert.equal(await values(x.rows(1)), [3, 4, 5, 6]);
  assert.equal(await values(x.rows(1, 2)), [3, 4]);
  const g = task.tensor([1, 2]);
  const w = task.tensor([
    [1, 1],
    [0, 2],
    [1, 0],
  ]);
  const bits = async (one: Tensor, two: Tensor): Promise<void> =>
    assert.equal(await values(one), await values(two));
  assert.equal(await values(x.linear(w)), [3, 4, 1, 7, 8, 3, 11, 12, 5]);
  await bits(x.add(x), add(x, x));
  assert.equal(x.reshape([2, 3]).shape, reshape(x, { shape: [2, 3] }).shape);
  await bits(x.rmsNorm(g, { eps: 1e-5 }), rmsNorm(x, g, { eps: 1e-5 }));
  await bits(x.swiglu(x), swiglu(x, x));
});

tests("a tape that is not walked to its end frees what it saved", () => {
  using task = new Task(device);
  const [x, g] = [task.tensor([[1, 2]]), task.tensor([1, 1])];
  x.requiresGrad = true;
  const norm = (of: Tensor): Tensor => rmsNorm(of, g, { eps: 1e-5 });
  const body = (): Tensor => task.tidy(() => norm(norm(x)));
  const failing = (): never => {
    body();
    throw new Error("in the middle");
  };
  const before = live();
  {
    using _scope = task.scope();
    const { tape } = record(task, body);
    assert.ok(live() > before + 1, "the tape holds more than the result");
    tape[Symbol.dispose]();
    assert.is(live(), before + 1);
    assert.throws(() => record(task, failing), /in the middle/);
    assert.is(live(), before + 2, "the scope has both results");
  }
  assert.is(live(), before);
});

tests("a parameter has a name and a size", async () => {
  using parameters = new Parameters(device, [
    { name: "p", shape: [2] },
    { name: "q", shape: [1] },
  ]);
  parameters.set("q", Float32Array.of(3));
  parameters.set("p", Float32Array.of(1, 2));
  assert.equal([await values(parameters.get("p")), await values(parameters.get("q"))], [[1, 2], [3]]);
  assert.throws(() => parameters.get("r"), /no parameter is called r/);
  assert.throws(() => parameters.set("p", Float32Array.of(1)), /p holds 2 values, not 1/);
});

tests(
  "where there is no setImmediate, as in a browser, the event loop has its turn by a message",
  async () => {
    const setImmediate = globalThis.setImmediate;
    Reflect.deleteProperty(globalThis, "setImmediate");
    try {
      using task = new Task(new ReferenceDevice()); // a queue of its own, whose first turn is due
      const order: string[] = [];
      const { port1, port2 } = new MessageChannel();
      port1.on("message", () => order.push("message"));
      const first = task.unit(async () => {
        port2.postMessage(null);
        order.push("first");
      });
      await Promise.all([first, task.unit(async () => void order.push("second"))]);
      port1.close();
      assert.equal(order, ["first", "message", "second"]);
    } finally {
      globalThis.setImmediate = setImmediate;
    }
  },
);

tests("an op whose gradients do not fit, and a kernel without its input, are named", () => {
  using task = new Task(device);
  const x = task.tensor([1, 2]);
  x.requiresGrad = true;
  for (const [dx, says] of [
    [undefined, /^bad\.vjp: gradient of x is \[missing\]/],
    [task.tensor([1, 2, 3]), /^bad\.vjp: gradient of x is \[3\]/],
  ] as const) {
    const bad = defineOp({
      ...{ name: "bad", inputs: ["x"], differentiable: ["x"], checks: [] },
      forward: (own: Task, { x: given }) => ({ output: own.alias(given, given.shape), saved: {} }),
      vjp: () => ({ x: dx }),
    });
    const { result, tape } = record(task, () => bad(x));
    assert.throws(() => tape.backward(result, task.tensor([1, 1])), says);
  }
  const failing = defineOp({
    ...{ name: "failing", inputs: ["x"], differentiable: [], checks: [] },
    forward: (): never => {
      throw new DeviceError("lost");
    },
    vjp: () => ({}),
  });
  assert.throws(
    () => failing(x),
    (error: unknown) => error instanceof DeviceError && error.message === "lost", // no shape is to blame
  );
  const missing = { x } as unknown as { readonly x: Tensor; readonly y: Tensor };
  assert.throws(
    () => task.run(accumulate, missing, { alpha: 1 }),
    (error: unknown) => error instanceof ShapeError && /accumulate: inout y is missing/.test(error.message),
  );
});

tests("AdamW takes what its formulas allow, and no more", () => {
  using task = new Task(device);
  using parameters = new Parameters(device, [{ name: "p", shape: [2] }]);
  const usual = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 1 };
  const make = (change: object): AdamW => new AdamW(task, parameters, { ...usual, ...change });
  for (const change of [{ beta1: 0, beta2: 0 }, { weight_decay: 0, clip: 0 }, { eps: 1e3 }])
    make(change).dispose();
  for (const [name, values] of Object.entries({
    ...{ beta1: [-0.1, 1, NaN], beta2: [-0.1, 1, NaN], eps: [0, -1, NaN, Infinity] },
    ...{ weight_decay: [-1, NaN, Infinity], clip: [-1, NaN, Infinity] },
  }))
    for (const value of values)
      assert.throws(() => make({ [name]: value }), `AdamW: ${name} is outside its range`);
  using optimizer = make({});
  optimizer.step(0);
  for (const lr of [-1, NaN, Infinity]) assert.throws(() => optimizer.step(lr), /a learning rate of/);
  assert.is(optimizer.steps, 1);
});

tests("errors are told apart by their names", () => {
  for (const [error, name, says] of [
    [new ShapeError("op", "too wide"), "ShapeError", "op: too wide"],
    [new DTypeError("op", "f32", "i32"), "DTypeError", "op"],
    [new DisposedError("weights"), "DisposedError", "weights"],
    [new DeviceError("gone"), "DeviceError", "gone"],
    [new DeviceLostError("gone"), "DeviceLostError", "gone"],
    [new BadInputError("wrong"), "BadInputError", "wrong"],
  ] as const) {
    assert.is(error.name, name);
    assert.match(error.message, says);
  }
  assert.instance(new DeviceLostError("gone"), DeviceError);
});

tests("a device that has no room says so", () => {
  assert.throws(
    () => allocate(device, [2 ** 40], "f32", "vast"),
    (e: unknown) => e instanceof DeviceError && /vast/.test(e.message),
  );
});

tests.after(() => assert.is(live(), 0));

tests.run();
