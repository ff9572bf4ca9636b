/**
 * Weights larger than a binding of the adapter go through kernels by runs of their rows, and give what they give whole. The
 * devices here bind little, so that small weights are large ones.
 */
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { openWebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import type { Device } from "../engine/device.ts";
import { DeviceError } from "../engine/errors.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { at } from "../kernels/base/at.ts";
import { type WeightDType, byteLength } from "../kernels/base/dtype.ts";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel, Numbers } from "../kernels/kernel.ts";
import { Llama } from "../model/llama.ts";
import { openModelFiles } from "../model/model_files.ts";
import { Adapter } from "../templora/adapter.ts";
import { recipes } from "../templora/config.ts";
import { Conformance } from "./support/conformance.ts";
import { type TinyGolden, goldenFolder, readGolden, readTensors, relativeError } from "./support/golden.ts";
import { planned } from "./support/plans.ts";
import { SEED } from "./support/rng.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const tests = suite("webgpu bindings");
const test = unless(noWebGpu, tests);

/** Every kernel that reads a weight [N, K]. */
const work = (N: number, K: number): readonly (readonly [keyof typeof kernels, Numbers])[] => [
  ["embedding", { T: 70, V: N, D: K }],
  ["matmul_nt", { M: 1, N, K }],
  ["matmul_nt", { M: 9, N, K }],
  ["matmul_nt_acc", { M: 3, N, K }],
  ["matmul_nt_acc", { M: 5, N, K }],
  ["matmul_nn", { M: 6, N, K }],
  ["matmul_nn_acc", { M: 5, N, K }],
];

/** Blocks of even and odd bytes, rows that are no whole vec4s or words; the last run is no tile's multiple. */
const weights: readonly (readonly [WeightDType, N: number, K: number])[] = [
  ["f32", 648, 32],
  ["f32", 645, 63],
  ["f16", 1027, 63],
  ["q4_0", 2081, 96],
  ["mxfp4", 2081, 96],
];

test("no kernel that reads a weight is left out", () => {
  const named = new Set(work(1, 1).map(([name]) => String(name)));
  const all = Object.values<AnyKernel>(kernels);
  assert.equal(
    [...named].sort(),
    all
      .filter(({ weightSlot }) => weightSlot !== undefined)
      .map(({ name }) => name)
      .sort(),
  );
});

for (const [weight, N, K] of weights)
  test(`${weight}[${N}, ${K}]: in runs of rows, every kernel is within its bound`, async () => {
    const maxBinding = 256 * byteLength("f32", Math.ceil(K / 4) * 4);
    await using device = await openWebGpuDevice({ tuned: {}, maxBinding });
    const { software, facts } = device.info;
    const kinds = [
      { software, subgroupSize: Number(facts["subgroupSize"]) },
      { software: true },
      { software: false },
      { software: false, tuned: { "matmul.thin": "64x64v@96" } }, // reads vec4s, where sizes allow it
    ];
    const conformance = new Conformance();
    for (const kind of kinds) {
      for (const [name, dims] of work(N, K)) {
        const kernel: AnyKernel = kernels[name];
        const params = { ...kernel.spec.defaults };
        const parts = kernel.spec
          .webgpu(dims, params, { ...kind, weight, maxBinding })
          .map((pass) => pass.parts);
        assert.ok(
          new Set(parts.map((part) => String(part?.["w"]))).size > 1,
          `${name}: there is one run only`,
        );
        const full = { kernel, dims, params, weight, scale: 1, seed: SEED };
        await conformance.check(JSON.stringify(kind), device, full, {
          plan: planned(kernel, kind),
          rounds: 1,
        });
      }
    }
  });

test("a binding of just the adapter's limit is taken, a longer one refused in words", async () => {
  await using device = await openWebGpuDevice({ tuned: {}, maxBinding: 4096 });
  const task = new Task(device);
  const filled = (length: number) =>
    task.run(kernels.fill, {}, { value: 3 }, { into: { y: task.empty([length]) } }).y;
  assert.equal(await filled(1024).data(), new Float32Array(1024).fill(3));
  assert.throws(
    () => filled(1025),
    (error: Error) =>
      error instanceof DeviceError &&
      /fill\.y .*4100 bytes; this adapter binds at most 4096/.test(error.message),
  );
  assert.throws(
    () => task.run(kernels.matmul_nt, { a: task.empty([1, 8]), w: task.empty([300, 8]) }, { alpha: 1 }),
    /matmul_nt\.w .*8192 bytes; this adapter binds at most 4096/,
    "not even the least run of rows",
  );
  task.dispose();
});

const BOUND = 1e-4;
const TOKENS = 32;

/** −log softmax(logits)[target], row by row. */
function losses(logits: Float32Array, targets: Int32Array): number[] {
  const V = logits.length / targets.length;
  return Array.from(targets, (target, t) => {
    const row = Array.from(logits.subarray(t * V, (t + 1) * V));
    const most = Math.max(...row);
    return most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) - at(row, target);
  });
}

for (const name of ["tiny-tied", "tiny-untied"])
  test(`${name}: logits and losses are transformers', gradients the cpu device's`, async () => {
    const golden = readGolden<TinyGolden>(`${name}/golden.json`);
    const tensors = readTensors(`${name}/golden.safetensors`);
    const tokens = Int32Array.from(golden.tokens).subarray(0, TOKENS + 1);
    const [ids, targets] = [tokens.subarray(0, TOKENS), tokens.subarray(1)];
    await using modelFiles = await openModelFiles(fileURLToPath(new URL(name, goldenFolder)));
    const recipe = { ...recipes.paper, ...golden.adapter, dropout: 0 };
    const V = modelFiles.config.vocab_size;

    const results = async (device: Device) => {
      using model = await Llama.load(device, modelFiles);
      using task = new Task(device);
      using adapter = new Adapter(model, recipe, 0);
      for (const { name: parameter } of adapter.parameters.specs)
        adapter.parameters.set(parameter, tensors.get(`adapter.${parameter}`) ?? new Float32Array());
      const logits = await model.logits(model.forward(model.ids(task, ids), { adapter })).data();
      const last = await model
        .logits(model.forward(model.ids(task, ids), { adapter, from: TOKENS - 1 }))
        .data();
      using optimizer = new AdamW(task, adapter.parameters, recipe);
      optimizer.zeroGradients();
      const { result: nll, tape } = record(task, () =>
        model.nll(model.forward(model.ids(task, ids), { adapter }), targets),
      );
      tape.backward(nll, task.run(kernels.fill, {}, { value: 1 }, { into: { y: task.empty([TOKENS]) } }).y);
      const gradients: (readonly [string, Float32Array])[] = [];
      for (const { name: parameter } of adapter.parameters.specs) {
        const { grad } = adapter.parameters.get(parameter);
        gradients.push([parameter, (await grad?.data()) ?? new Float32Array()]);
      }
      return { logits, last, nll: await nll.data(), gradients };
    };

    await using cpu = await openCpu({ threads: 1 });
    const { gradients } = await results(cpu);
    const maxBinding = 256 * byteLength("f32", modelFiles.config.hidden_size);
    await using device = await openWebGpuDevice({ tuned: {}, maxBinding });
    const got = await results(device);
    const within = (what: string, values: ArrayLike<number>, want: ArrayLike<number>): void => {
      const error = relativeError(values, want);
      assert.ok(error <= BOUND, `${what}: relative error ${error.toExponential(2)} exceeds ${BOUND}`);
    };
    const logits = (tensors.get("logits.adapter") ?? new Float32Array()).subarray(0, TOKENS * V);
    within("logits", got.logits, logits);
    within("logits of one token", got.last, logits.subarray(-V));
    within("losses", got.nll, losses(logits, targets));
    for (const [i, [parameter, want]] of gradients.entries())
      within(`gradient of ${parameter}`, at(got.gradients, i)[1], want);
  });

tests.run();
