/** What a task promises: lifetimes, what a tape records, turns on a device; and parameters with their optimiser. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ReferenceDevice } from "./support/reference_device.ts";
import type { BufferView } from "../engine/device.ts";
import { add, reshape, rmsNorm, rows, softCap, swiglu } from "../engine/ops/index.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { Parameters } from "../engine/parameters.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { accumulate, add as addKernel } from "../kernels/add/add.ts";
import { kernels } from "../kernels/index.ts";
import { matmul_nt_acc } from "../kernels/matmul/matmul.ts";
import { type RopeConfig, RopeTables } from "../model/rope.ts";
import { GrowingText } from "../templora/growing_text.ts";
import { assertGradient } from "./support/differences.ts";
import { RefusingDevice } from "./support/faulty_device.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const device = new ReferenceDevice();

test("a task does not end inside one of its scopes", () => {
  const task = new Task(device);
  const open = task.scope();
  assert.throws(() => task.dispose(), /out of order/);
  open[Symbol.dispose]();
  task.dispose();
});

test("while a tape records, what needs a gradient goes through ops alone", () => {
  using task = new Task(device);
  const x = task.tensor([
    [1, 2],
    [3, 4],
  ]);
  x.requiresGrad = true;
  const cuts: (() => Tensor | null)[] = [
    () => task.run(addKernel, { a: x, b: x }, { alpha: 1 }).y,
    () => task.rows(x, 0, 1),
    () => task.joined([x]),
  ];
  for (const cut of cuts) assert.throws(() => record(task, cut), /is not recorded: use an op/);
  for (const cut of cuts) cut();
});

test("tapes and captures do not nest, and a capture that fails holds nothing", () => {
  using task = new Task(device);
  assert.throws(() => record(task, () => record(task, () => null)), /recording already/);
  assert.throws(() => record(task, () => task.capture(() => null)), /a tape is recording/);
  const before = device.stats().liveBuffers;
  const failing = (): unknown =>
    task.capture(() => {
      using _scope = task.scope();
      const x = task.tensor([1, 2]);
      task.run(addKernel, { a: x, b: x }, { alpha: 1 });
      throw new Error("in the middle");
    });
  assert.throws(failing, /in the middle/);
  assert.is(device.stats().liveBuffers, before);
  task.capture(() => null).replay.dispose();
});

test("tensors of one symbol have one shape; nested arrays are rectangular", () => {
  using task = new Task(device);
  const [a, b] = [task.empty([2, 3]), task.empty([3, 2])];
  assert.throws(
    () => task.run(addKernel, { a, b }, { alpha: 1 }),
    /\[3, 2\] beside \[2, 3\]; expected one shape/,
  );
  assert.throws(() => add(a, b), /^add\(f32\[2, 3\], f32\[3, 2\]\): add\..*expected one shape/);
  assert.throws(() => task.tensor([[1, 2], [3]]), /nested arrays of different lengths/);
});

test("sizes are whole numbers, rows are within, a reshape keeps every element", () => {
  using task = new Task(device);
  const x = task.tensor([1, 2, 3, 4]);
  for (const shape of [[-1], [1.5], [NaN], [2, -2]]) {
    assert.throws(() => task.empty(shape), /is no shape/);
    assert.throws(() => task.alias(x, shape), /is no shape/);
    assert.throws(() => reshape(x, { shape }), /does not become/);
  }
  assert.throws(() => reshape(x, { shape: [3] }), /reshape: \[4\] does not become \[3\]/);
  for (const [from, to] of [
    [2, 1],
    [0, 5],
    [-1, 2],
    [0.5, 2],
  ] as const)
    // prettier-ignore
    assert.throws(() => rows(x, { from, to }), /rows: \[/);
});

test("backward of what was not recorded is an error", () => {
  using task = new Task(device);
  const x = task.tensor([1, 2]);
  const { result, tape } = record(task, () => add(x, x)); // no parameter takes part
  assert.throws(() => tape.backward(result, x), /is not on this tape: it was not recorded/);
});

test("a cotangent that two branches share is not added to in place; its shape is checked", async () => {
  using task = new Task(device);
  const random = new TestRandom(SEED, "shared cotangent");
  const make = (): { tensor: Tensor; values: Float64Array } => {
    const tensor = task.empty([2, 3]);
    const values = Float64Array.from({ length: 6 }, () => random.normal());
    device.writeExact(tensor.view, values);
    tensor.requiresGrad = true;
    tensor.grad = task.empty([2, 3]);
    device.writeExact(tensor.grad.view, new Float64Array(6));
    return { tensor, values };
  };
  const [p, q] = [make(), make()];
  const g = task.tensor([1, 2, 3]);
  const body = (): Tensor => {
    const [a, b] = [swiglu(p.tensor, q.tensor), rmsNorm(q.tensor, g, { eps: 1e-5 })];
    const c = swiglu(a, a); // walked after the sum has handed one cotangent to a and b
    return add(c, add(a, b));
  };
  const cotangent = make();
  const { result, tape } = record(task, body);
  assert.throws(() => tape.backward(result, g), /cotangent \[3\] for \[2, 3\]/);
  tape.backward(result, cotangent.tensor);
  const objective = async (): Promise<number> => {
    using _scope = task.scope();
    const y = new Float64Array(await device.read(body().view));
    return y.reduce((sum, value, i) => sum + value * (cotangent.values[i] ?? NaN), 0);
  };
  for (const [name, { tensor, values }] of Object.entries({ p, q }))
    await assertGradient(device, name, tensor, values, objective, SEED);
});

test("units take turns: after one that failed the next runs, and timers have had their turn", async () => {
  using one = new Task(device);
  using two = new Task(device);
  const order: string[] = [];
  let running = 0;
  const unit = (name: string) => async (): Promise<void> => {
    running++;
    assert.is(running, 1);
    await Promise.resolve();
    order.push(name);
    running--;
  };
  const failing = one.unit(() => Promise.reject(new Error("no luck"))).catch(() => order.push("failed"));
  const timer = new Promise<void>((done) => {
    setImmediate(() => {
      order.push("timer");
      done();
    });
  });
  await Promise.all([failing, timer, two.unit(unit("second")), one.unit(unit("third"))]);
  assert.equal(order, ["failed", "timer", "second", "third"]);
});

test("parameters have one optimiser at a time; a step is another revision; reset forgets", async () => {
  using task = new Task(device);
  using parameters = new Parameters(device, [{ name: "p", shape: [4] }]);
  const options = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0, clip: 0 };
  {
    using optimizer = new AdamW(task, parameters, options);
    assert.throws(() => new AdamW(task, parameters, options), /has an optimiser already/);
    const { revision } = parameters;
    const all = (x: number): void =>
      device.write(optimizer.gradients.view, new Float32Array(optimizer.gradients.length).fill(x));
    all(NaN);
    optimizer.step(1);
    assert.is.not(parameters.revision, revision);
    assert.is(await optimizer.skippedSteps(), 1);
    assert.is(await optimizer.skippedSteps(), 1);
    assert.is(optimizer.steps, 0);
    optimizer.reset();
    assert.is(await optimizer.skippedSteps(), 0);
    all(1);
    optimizer.step(1);
    optimizer.reset();
    for (const moment of [optimizer.m, optimizer.v]) assert.ok((await moment.data()).every((x) => x === 0));
  }
  assert.is(parameters.get("p").grad, null);
  assert.not(parameters.get("p").requiresGrad);
});

test("setting a parameter is another revision", () => {
  using parameters = new Parameters(device, [{ name: "p", shape: [4] }]);
  const { revision } = parameters;
  parameters.set("p", Float32Array.of(1, 2, 3, 4));
  assert.is.not(parameters.revision, revision);
});

test("a replay's changed parameters go to the kernels that they are named for", async () => {
  using task = new Task(device);
  const [x, y] = [task.tensor([1, 2, 3, 4]), task.tensor([0, 0, 0, 0])];
  const [a, w, c] = [task.tensor([[2]]), task.tensor([[3]]), task.tensor([[0]])];
  const { replay } = task.capture(() => {
    task.run(accumulate, { x, y }, { alpha: 1 });
    task.run(matmul_nt_acc, { a, w, c }, { alpha: 1 });
  });
  replay.run({ accumulate: { alpha: 10 } });
  assert.equal([...(await y.data())], [11, 22, 33, 44]);
  assert.is(await c.item(), 12);
  replay.dispose();
});

test("a soft cap that caps nothing is refused: whoever has none leaves the op out", () => {
  using task = new Task(device);
  const x = task.tensor([1, 2]);
  for (const cap of [0, -1, NaN, Infinity])
    assert.throws(() => softCap(x, { cap }), /soft_cap\.cap is .*; it must be a number from .* to /);
});

test("two outputs in one buffer are refused", () => {
  using task = new Task(device);
  const [one, two] = [task.empty([64 * 3]), task.empty([64 * 3])];
  const part = (of: Tensor, i: number): BufferView => ({ ...of.view, offset: i * 64, length: 64 });
  const slots = {
    ...{ dy: part(one, 0), gate: part(one, 1), up: part(one, 2) },
    ...{ dgate: part(two, 0), dup: part(two, 1) },
  };
  assert.throws(
    () => device.run({ kernel: kernels.swiglu_backward, slots, dims: { N: 64 }, params: {} }),
    /swiglu_backward: output dgate shares its buffer with dup/,
  );
});

const ropes: RopeConfig[] = [1e4, 1e6].map((rope_theta) => ({ head_dim: 8, rope_theta, rope_scaling: null }));

test("layers with different frequencies have tables of angles of their own, which hold more rows as they grow", async () => {
  using tables = new RopeTables(device, [...ropes, ...ropes]);
  const live = device.stats().liveBuffers;
  tables.reserve(tables.rows + 1);
  assert.is(device.stats().liveBuffers, live);
  const p = tables.rows - 1;
  for (const config of ropes) {
    const row = (await tables.get(config).data()).subarray(8 * p);
    for (let i = 0; i < 4; i++)
      assert.is(row[i], Math.fround(Math.cos(p * config.rope_theta ** ((-2 * i) / 8))));
  }
});

test("when one table of angles cannot grow, all stay what they were", () => {
  const own = new ReferenceDevice();
  const refusing = new RefusingDevice(own);
  using tables = new RopeTables(refusing, ropes);
  const { rows } = tables;
  for (const nth of [1, 2]) {
    refusing.countdown = nth;
    assert.throws(() => tables.reserve(rows + 1), /no room/);
    assert.equal([tables.rows, own.stats().liveBuffers], [rows, 2], `allocation ${nth}`);
  }
});

test("a text keeps its ids and its marks as it grows", () => {
  const text = new GrowingText();
  const part = Int32Array.from({ length: 700 }, (_, i) => i);
  text.append(part, 0);
  text.append([7, 8], 1);
  text.append(part, 0);
  text.append([9], 1);
  text.append(part, 0);
  assert.equal([...text.ids()], [...part, 7, 8, ...part, 9, ...part]);
  const marks = new Array<number>(text.length).fill(0);
  for (const place of [700, 701, 1402]) marks[place] = 1;
  assert.equal([...text.written()], marks);
  const copy = new GrowingText();
  copy.restore(text.ids(), text.written());
  copy.append([1], 1);
  assert.equal([...copy.written()], [...marks, 1]);
});

test.after(() => assert.is(device.stats().liveBuffers, 0));

test.run();
