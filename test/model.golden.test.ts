/**
 * The model, the adapter's gradients, the optimiser and the whole Temp-LoRA loop against transformers + peft in float64
 * (test/golden/README.md), on each device, and on one with no more than WebGPU's least limits that passes for a GPU: relative error at most 1e-4.
 */
import { at } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { record } from "../engine/tape.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { fill } from "../kernels/fill/fill.ts";
import { openModelFiles } from "../model/model_files.ts";
import { Llama } from "../model/llama.ts";
import { Adapter } from "../templora/adapter.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { readText } from "../templora/api.ts";
import type { Keeper } from "../templora/keeping.ts";
import type { LearnerSnapshot } from "../templora/trainer.ts";
import { openTestDevices } from "./support/backends.ts";
import {
  type GoldenLoop,
  type TinyGolden,
  goldenFolder,
  readGolden,
  readTensors,
  relativeError,
} from "./support/golden.ts";
import { openLeastGpu } from "./support/least_gpu.ts";
import { noWebGpu } from "./support/skip.ts";
import { fileURLToPath } from "node:url";

const BOUND = 1e-4;

function within(what: string, got: ArrayLike<number>, want: ArrayLike<number> | undefined): void {
  const error = relativeError(got, want ?? []);
  assert.ok(
    error <= BOUND, // false for NaN, too
    `${what}: relative error ${error.toExponential(2)} exceeds ${BOUND}`,
  );
}

const devices = await openTestDevices();
if (noWebGpu === undefined)
  devices.push({
    name: "webgpu, least limits, plans for GPUs",
    device: await openLeastGpu({ hardware: true }),
  });
for (const device of devices) {
  for (const name of ["tiny-tied", "tiny-untied"]) {
    const golden = readGolden<TinyGolden>(`${name}/golden.json`);
    const tensors = readTensors(`${name}/golden.safetensors`);
    const task = new Task(device.device);
    const modelFiles = await openModelFiles(fileURLToPath(new URL(name, goldenFolder)));
    const model = await Llama.load(device.device, modelFiles);
    await modelFiles.close();
    let liveAtStart = 0;
    test(`${device.name} ${name}: memory before`, () => {
      liveAtStart = device.device.stats().liveBuffers;
    });
    const tokens = Int32Array.from(golden.tokens);
    const from = golden.scored_from - 1;
    const inputs = tokens.subarray(0, -1);
    const targets = tokens.subarray(golden.scored_from);
    const { rank, alpha } = golden.adapter;
    const { lr, beta1, beta2, eps, weight_decay, clip } = golden.adamw;
    const recipe: Recipe = {
      ...recipes.paper,
      rank,
      alpha,
      dropout: 0,
      lr,
      beta1,
      beta2,
      eps,
      weight_decay,
      clip,
    };

    const goldenAdapter = (): Adapter => {
      const adapter = new Adapter(model, recipe, 0);
      for (const { name: parameter } of adapter.parameters.specs) {
        adapter.parameters.set(parameter, tensors.get(`adapter.${parameter}`) ?? new Float32Array());
      }
      return adapter;
    };
    /** One recorded pass; leaves the mean loss's gradients in the adapter's parameters. */
    const gradients = async (adapter: Adapter, optimizer: AdamW): Promise<number> => {
      using _scope = task.scope();
      const { result: nll, tape } = record(task, () =>
        model.nll(model.forward(model.ids(task, inputs), { adapter, from }), targets),
      );
      const ones = task.empty([targets.length]);
      task.run(fill, {}, { value: 1 / targets.length }, { into: { y: ones } });
      optimizer.zeroGradients();
      tape.backward(nll, ones);
      return (await nll.data()).reduce((a, b) => a + b, 0) / targets.length;
    };

    test(`${device.name} ${name}: logits with and without the adapter`, async () => {
      using _scope = task.scope();
      const adapter = goldenAdapter();
      within(
        "base",
        await model.logits(model.forward(model.ids(task, tokens))).data(),
        tensors.get("logits.base"),
      );
      within(
        "adapted",
        await model.logits(model.forward(model.ids(task, tokens), { adapter })).data(),
        tensors.get("logits.adapter"),
      );
      adapter.dispose();
    });

    test(`${device.name} ${name}: loss, every gradient of A and B, ten AdamW steps`, async () => {
      const adapter = goldenAdapter();
      const optimizer = new AdamW(task, adapter.parameters, recipe);
      const read = (parameter: string): Promise<Float32Array> => adapter.parameters.get(parameter).data();
      for (let step = 0; step < 10; step++) {
        const loss = await gradients(adapter, optimizer);
        within(`loss of step ${step}`, [loss], [at(golden.adamw.losses, step)]);
        if (step === 0) {
          for (const { name: parameter } of adapter.parameters.specs) {
            const { grad } = adapter.parameters.get(parameter);
            assert.ok(grad);
            within(`gradient of ${parameter}`, await grad.data(), tensors.get(`grad.${parameter}`));
          }
        }
        optimizer.step(lr);
      }
      for (const { name: parameter } of adapter.parameters.specs) {
        within(`${parameter} after ten steps`, await read(parameter), tensors.get(`step10.${parameter}`));
      }
      optimizer.dispose();
      adapter.dispose();
    });

    const withDropout = readGolden<{ loops: readonly GoldenLoop[] }>(`${name}/dropout.json`);
    const finals = new Map([...tensors, ...readTensors(`${name}/dropout.safetensors`)]);
    for (const loop of [...golden.loops, ...withDropout.loops]) {
      test(`${device.name} ${name}: the whole loop (${loop.name})`, async () => {
        const {
          seed,
          chunk,
          window,
          train_window: trainWindow,
          reuse_cache: reuseCache = 0,
          ...rest
        } = loop.recipe;
        const recipe = { scaling: "lora" as const, context_grad: true, ...rest, targets: loop.targets };
        const kept: LearnerSnapshot[] = [];
        const keeper: Keeper = {
          earlier: null,
          point: async (take) => {
            const { learner } = (await take()).snapshot;
            if (learner) kept.push(learner);
          },
          stop: () => Promise.resolve(),
        };
        const options = { seed, chunk, window, trainWindow, reuseCache, baseline: true, templora: true };
        const read = readText(model, Int32Array.from(loop.tokens), { ...options, recipe, keeper });
        let index = 0;
        for await (const record of read) {
          const want = loop.chunks[index++];
          assert.ok(want, `chunk ${record.index} is one too many`);
          const facts = ({ start, tokens: n, context, lr: rate }: typeof record | typeof want): number[] => [
            start,
            n,
            context,
            rate,
          ];
          assert.equal(facts(record), facts(want));
          within(`base_nll of chunk ${record.index}`, [record.base_nll ?? NaN], [want.base_nll]);
          within(`lora_nll of chunk ${record.index}`, [record.lora_nll ?? NaN], [want.lora_nll]);
          within(`train_loss of chunk ${record.index}`, record.train_loss, want.train_loss);
        }
        assert.is(index, loop.chunks.length);
        const snapshot = kept.at(-1);
        assert.ok(snapshot);
        assert.is(snapshot.chunks, index);
        const adapter = new Adapter(model, { ...recipes.paper, ...recipe }, seed);
        device.device.write(adapter.parameters.values.view, snapshot.values);
        for (const { name: parameter } of adapter.parameters.specs) {
          const got = await adapter.parameters.get(parameter).data();
          within(`${parameter} after the loop`, got, finals.get(`${loop.name}.final.${parameter}`));
        }
        adapter.dispose();
      });
    }

    test(`${device.name} ${name}: memory after is memory before`, () => {
      assert.is(device.device.stats().liveBuffers, liveAtStart);
    });
  }
  test.after(() => device.device.close());
}

test.run();
