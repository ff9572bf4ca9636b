/**
 * Linear layers that read the same input: one product of a single row gives the numbers of single products, with LoRAs and
 * biases and without; what does not lie together, is in different formats or is recorded falls back to single products.
 */
import { at } from "../kernels/base/at.ts";
import { nt } from "../kernels/matmul/matmul.ref.ts";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { record } from "../engine/tape.ts";
import { type LinearLayer, addLinear, linearGroup } from "../engine/ops/linear_group.ts";
import type { Tensor } from "../engine/tensor.ts";
import { type ModelFiles, openModelFiles } from "../model/model_files.ts";
import { KVCache } from "../model/kv_cache.ts";
import { Llama } from "../model/llama.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const IN = 96;
const RANK = 64;
/** Multiples of 64: every output may begin a view on every device. */
const OUT = [128, 64, 192];
/** Of a LoRA, beside A and B. */
const half = { scale: 0.5, dropout: null } as const;

for (const { name, device } of await openTestDevices()) {
  const task = new Task(device);
  const values = (label: string, length: number): Float32Array => {
    const random = new TestRandom(SEED, label);
    return Float32Array.from({ length }, () => random.normal());
  };
  const matrix = (label: string, rows: number, columns: number): Tensor =>
    task.tensor(values(label, rows * columns), [rows, columns], label);
  const vector = (label: string, length: number): Tensor =>
    task.tensor(values(label, length), [length], label);
  /** The matrices as runs of rows of one buffer. */
  const together = (matrices: readonly Tensor[], columns: number): Tensor[] => {
    const rows = matrices.map(({ shape }) => at(shape, 0));
    const all = task.empty([rows.reduce((a, b) => a + b), columns]);
    let end = 0;
    return matrices.map(({ shape, view }, i) => {
      const part = task.rows(all, end, end + at(rows, i));
      end += at(rows, i);
      device.write(part.view, values(view.buffer.label, at(shape, 0) * columns));
      return part;
    });
  };
  const readAll = (tensors: readonly Tensor[]): Promise<Float32Array[]> =>
    Promise.all(tensors.map((t) => t.data()));
  const dispatchesOf = (body: () => Tensor[]): { ys: Tensor[]; count: number } => {
    const before = device.stats().dispatches;
    const ys = body();
    return { ys, count: device.stats().dispatches - before };
  };

  test(`${name}: one row takes one product, and gives what single products give`, async () => {
    using _scope = task.scope();
    const apart = OUT.map((out) => matrix(`w${out}`, out, IN));
    const x = matrix("x", 1, IN);
    const plain = (ws: readonly Tensor[]): LinearLayer[] => ws.map((w) => ({ w, lora: null }));
    const single = dispatchesOf(() => linearGroup(x, plain(apart)));
    const grouped = dispatchesOf(() => linearGroup(x, plain(together(apart, IN))));
    assert.is(single.count, OUT.length);
    assert.is(grouped.count, 1);
    assert.equal(await readAll(grouped.ys), await readAll(single.ys));
  });

  test(`${name}: the same with LoRAs, beside some or all of the layers`, async () => {
    using _scope = task.scope();
    const x = matrix("x", 1, IN);
    const ws = OUT.map((out) => matrix(`w${out}`, out, IN));
    const As = OUT.map((out) => matrix(`A${out}`, RANK, IN));
    const Bs = OUT.map((out) => matrix(`B${out}`, out, RANK));
    for (const adapted of [
      [true, true, true],
      [true, false, true],
      [false, false, false],
    ]) {
      const layers = (weights: readonly Tensor[], firsts: readonly Tensor[]): LinearLayer[] =>
        weights.map((w, i) => ({
          w,
          lora: at(adapted, i) ? { A: at(firsts, i), B: at(Bs, i), scale: 0.5, dropout: null } : null,
        }));
      const single = dispatchesOf(() => linearGroup(x, layers(ws, As)));
      const fused = layers(together(ws, IN), together(As, IN));
      const grouped = dispatchesOf(() => linearGroup(x, fused));
      assert.equal(await readAll(grouped.ys), await readAll(single.ys));
      assert.ok(grouped.count <= single.count - 2, `${grouped.count} kernels, ${single.count} apart`);
    }
  });

  test(`${name}: several rows, and what a tape records, take a product each`, async () => {
    using _scope = task.scope();
    const ws = together(
      OUT.map((out) => matrix(`w${out}`, out, IN)),
      IN,
    );
    const layers = ws.map((w) => ({ w, lora: null }));
    const rows = dispatchesOf(() => linearGroup(matrix("x2", 2, IN), layers));
    assert.is(rows.count, OUT.length);
    const x = matrix("x", 1, IN);
    const { result, tape } = record(task, () => dispatchesOf(() => linearGroup(x, layers)));
    assert.is(result.count, OUT.length);
    assert.equal(await readAll(result.ys), await readAll(linearGroup(x, layers)));
    tape.dispose();
  });

  test(`${name}: adding to the residual stream in place is adding`, async () => {
    using _scope = task.scope();
    const [x, w] = [matrix("x", 1, IN), matrix("w", 64, IN)];
    const [A, B] = [matrix("A", RANK, IN), matrix("B", 64, RANK)];
    for (const lora of [null, { A, B, scale: 0.5, dropout: null }]) {
      const h = matrix("h", 1, 64);
      const sum = await addLinear(h, x, { w, lora }).data();
      assert.equal(await h.data(), values("h", 64), "untouched");
      assert.is(addLinear(h, x, { w, lora }, { inPlace: true }), h);
      assert.ok(relativeError(await h.data(), sum) < 1e-6);
    }
  });

  test(`${name}: biases, of one row and of several, against float64`, async () => {
    using _scope = task.scope();
    for (const outs of [OUT, [100, 60, 192]]) {
      const ws = together(
        outs.map((out) => matrix(`w${out}`, out, IN)),
        IN,
      );
      const layers: LinearLayer[] = ws.map((w, i) => {
        const out = at(outs, i);
        const lora = { A: matrix(`A${out}`, RANK, IN), B: matrix(`B${out}`, out, RANK), ...half };
        return { w, lora: i === 1 ? null : lora, bias: i === 2 ? null : vector(`b${out}`, out) };
      });
      for (const T of [1, 3]) {
        const x = matrix(`x${T}`, T, IN);
        for (const [i, y] of linearGroup(x, layers).entries())
          assert.ok(relativeError(await y.data(), await exact(x, at(layers, i))) < 1e-6, `output ${i}`);
      }
    }
  });

  test(`${name}: a bias costs one kernel for each output that has one`, () => {
    using _scope = task.scope();
    const x = matrix("x", 1, IN);
    const ws = together(
      OUT.map((out) => matrix(`w${out}`, out, IN)),
      IN,
    );
    const biased = ws.map((w, i) => ({ w, lora: null, bias: i === 1 ? null : vector(`b${i}`, at(OUT, i)) }));
    assert.is(dispatchesOf(() => linearGroup(x, biased)).count, 3);
    const longer = [{ w: at(ws, 0), lora: null, bias: vector("b", 64) }];
    assert.throws(() => linearGroup(x, longer), /accumulate/, "a bias of another length");
  });

  test(`${name}: addLinear with bias and scale, in place and not, against float64`, async () => {
    using _scope = task.scope();
    const scale = 0.22;
    const [w, bias] = [matrix("w", 64, IN), vector("b", 64)];
    const [A, B] = [matrix("A", RANK, IN), matrix("B", 64, RANK)];
    for (const lora of [null, { A, B, ...half }])
      for (const [T, inPlace] of [
        [1, true],
        [1, false],
        [3, false],
      ] as const) {
        const [h, x] = [matrix("h", T, 64), matrix("x", T, IN)];
        const y = await exact(x, { w, lora, bias });
        const want = (await h.data()).map((value, i) => value + scale * at(y, i));
        const got = addLinear(h, x, { w, lora, bias }, { inPlace, scale });
        assert.is(got === h, inPlace);
        assert.ok(relativeError(await got.data(), want) < 1e-6, `${T} rows, in place: ${inPlace}`);
      }
  });

  test(`${name}: a trained bias gets the sum of its rows' gradients, scaled; the residual stream its own`, async () => {
    using _scope = task.scope();
    const [T, out, scale] = [5, 64, 0.22];
    const [h, bias] = [matrix("h", T, out), vector("b", out)];
    for (const tensor of [h, bias]) {
      tensor.requiresGrad = true;
      tensor.grad = task.tensor(new Float32Array(tensor.length), tensor.shape);
    }
    const layer = { w: matrix("w", out, IN), lora: null, bias };
    const { result, tape } = record(task, () => addLinear(h, matrix("x", T, IN), layer, { scale }));
    const cotangent = matrix("dy", T, out);
    tape.backward(result, cotangent);
    const dy = await cotangent.data();
    const sums = Float64Array.from({ length: out }, (_, n) => {
      let sum = 0;
      for (let t = 0; t < T; t++) sum += scale * at(dy, t * out + n);
      return sum;
    });
    assert.ok(relativeError((await bias.grad?.data()) ?? [], sums) < 1e-6);
    assert.equal(await h.grad?.data(), dy);
  });

  test(`${name}: weights of one format lie together; in a model of mixed formats they need not`, async () => {
    const before = device.stats().liveBuffers;
    const modelFiles = await openModelFiles(fileURLToPath(new URL("tiny-untied", goldenFolder)));
    for (const source of [modelFiles, halved(modelFiles, /k_proj|up_proj/)]) {
      const model = await Llama.load(device, source);
      const { q_proj, k_proj, v_proj, gate_proj, up_proj } = at(model.weights.layers, 0);
      for (const group of [
        [q_proj, k_proj, v_proj],
        [gate_proj, up_proj],
      ]) {
        const all = task.joined(group);
        assert.is(all !== null, source === modelFiles);
        all?.dispose();
      }
      const ids = Int32Array.from({ length: 12 }, (_, i) => (i * 53) % 256);
      const cache = new KVCache(device, model.config, 12);
      {
        using _scope = task.scope();
        const full = await model.logits(model.forward(model.ids(task, ids))).data();
        const V = model.config.vocab_size;
        for (let i = 0; i < ids.length; i++) {
          const got = await model
            .logits(model.forward(model.ids(task, ids.subarray(i, i + 1)), { cache }))
            .data();
          assert.ok(relativeError(got, full.subarray(i * V, (i + 1) * V)) < 1e-5, `token ${i}`);
        }
      }
      cache.dispose();
      model.dispose();
    }
    await modelFiles.close();
    assert.is(device.stats().liveBuffers, before);
  });

  test.after(() => device.close());
}

/** What the layer makes of x [T, IN], in float64. */
async function exact(x: Tensor, { w, lora, bias }: LinearLayer): Promise<Float64Array> {
  const read = async (tensor: Tensor): Promise<Float64Array> => Float64Array.from(await tensor.data());
  const [T, out] = [at(x.shape, 0), at(w.shape, 0)];
  const b = bias ? await read(bias) : new Float64Array(out);
  const y = Float64Array.from({ length: T * out }, (_, i) => at(b, i % out));
  nt(await read(x), await read(w), y, T, out, IN, 1, 1);
  if (lora) {
    const u = new Float64Array(T * RANK);
    nt(await read(x), await read(lora.A), u, T, RANK, IN, 1, 0);
    nt(u, await read(lora.B), y, T, out, RANK, lora.scale, 1);
  }
  return y;
}

/** The f32 model with the tensors that `names` matches as bf16. */
function halved(modelFiles: ModelFiles, names: RegExp): ModelFiles {
  const tensors = new Map(
    [...modelFiles.tensors].map(([name, entry]) => [
      name,
      names.test(name) ? { ...entry, dtype: "bf16" as const, bytes: entry.bytes / 2 } : entry,
    ]),
  );
  async function* parts(name: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for await (const part of modelFiles.parts(name)) {
      const upper = new Uint16Array(part.buffer).filter((_, i) => i % 2 === 1);
      yield names.test(name) ? new Uint8Array(upper.buffer) : part;
    }
  }
  return { ...modelFiles, tensors, parts };
}

test.run();
