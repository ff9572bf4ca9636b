/**
 * Dynamic evaluation (templora/deltas.ts): every family against PyTorch's own training of the weights (test/golden/make_dynamic.py), on each
 * device; what nothing has changed yet is the frozen model to the bit; and what only a LoRA has is refused.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { elements } from "../kernels/base/shape.ts";
import { Decoder } from "../model/decoder.ts";
import { KVCache } from "../model/kv_cache.ts";
import { type Adapt, type Recipe, recipes } from "../templora/config.ts";
import { Deltas } from "../templora/deltas.ts";
import { Session, loadAdapter, loadModel, readText, saveAdapter } from "../templora/index.ts";
import { openTestDevices } from "./support/backends.ts";
import { templora } from "./support/cli.ts";
import { goldenFolder, readGolden, relativeError } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

interface Golden {
  readonly recipe: Partial<Recipe> & { readonly chunk: number; readonly window: number };
  readonly runs: readonly {
    readonly family: string;
    readonly adapt: Adapt;
    readonly lr: number;
    readonly chunks: readonly {
      readonly start: number;
      readonly lora_nll: number;
      readonly train_loss: readonly number[];
    }[];
  }[];
}

const test = suite("dynamic");
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
const tiny = pathOf("tiny-tied");
const {
  recipe: { chunk, window, ...recipe },
  runs,
} = readGolden<Golden>("dynamic.json");
const both = ["full", "norms"] as const;
const ids = Int32Array.from({ length: 48 }, (_, t) => (t * 29 + (t >> 3) * 5) % 256);

const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

for (const { name, device } of devices) {
  for (const { family, adapt, lr, chunks } of runs)
    test(`${name} ${family}: ${adapt} learns as PyTorch does`, async () => {
      const { tokens } = readGolden<{ readonly tokens: readonly number[] }>(`families/${family}/golden.json`);
      using model = await loadModel(device, pathOf(`families/${family}`));
      const options = { chunk, window, recipe: { ...recipes.paper, ...recipe, adapt, lr } }; // its dropout is a LoRA's
      const [got, wanted]: number[][] = [[], []];
      for await (const { index, lora_nll, train_loss } of readText(model, Int32Array.from(tokens), options)) {
        got?.push(lora_nll ?? NaN, ...train_loss);
        wanted?.push(chunks[index]?.lora_nll ?? NaN, ...(chunks[index]?.train_loss ?? []));
      }
      assert.is(got?.length, 3 * chunks.length);
      const error = relativeError(got ?? [], wanted ?? []);
      assert.ok(error < 1e-5, `relative error ${error.toExponential(2)}`);
    });

  for (const family of ["llama", "gemma3_text", "olmo2"])
    for (const adapt of both)
      test(`${name} ${family}: ${adapt} that has learnt nothing changes no bit; token by token it is what it is at once`, async () => {
        using model = await loadModel(device, pathOf(`families/${family}`));
        const unchanged = { chunk: 16, window: 16, recipe: { adapt, lr: 0 } };
        for await (const { base_nll, lora_nll } of readText(model, ids, unchanged))
          assert.is(lora_nll, base_nll);
        using task = new Task(device);
        using deltas = new Deltas(model, { ...recipes.paper, adapt });
        for (const [i, { name, shape }] of deltas.parameters.specs.entries()) {
          const length = elements(shape);
          deltas.parameters.set(
            name,
            Float32Array.from({ length }, (_, j) => 0.1 * Math.sin(i + j)),
          );
        }
        using cache = new KVCache(device, model.config, 16);
        using decoder = new Decoder(task, model, cache, deltas);
        for (let t = 0; t < 12; t++) {
          using _scope = task.scope();
          const got = await model.logits(decoder.read(ids.subarray(t, t + 1))).data();
          const at = { from: t };
          const some = model.ids(task, ids.subarray(0, t + 1));
          const want = await model.logits(model.forward(some, { ...at, adapter: deltas })).data();
          assert.ok(relativeError(got, want) < 1e-5, `token ${t}`);
          const frozen = await model.logits(model.forward(some, at)).data();
          assert.ok(relativeError(got, frozen) > 1e-3, "not the frozen model");
        }
      });

  test(`${name}: full learns the targets of the last layers, norms those layers' norms and the last one`, async () => {
    using model = await loadModel(device, pathOf("families/gemma3_text"));
    const learnt = (changes: Partial<Recipe>): string[] => {
      using deltas = new Deltas(model, { ...recipes.paper, ...changes });
      return deltas.parameters.specs.map(({ name }) => name).sort();
    };
    assert.is(learnt({ adapt: "full" }).length, 4 * 7);
    const some = learnt({ adapt: "full", layers: 1, targets: ["q_proj", "down_proj"] });
    assert.equal(some, ["layers.3.down_proj", "layers.3.q_proj"]);
    const six = [
      "k_norm",
      "post_attention_norm",
      "post_mlp_norm",
      "pre_attention_norm",
      "pre_mlp_norm",
      "q_norm",
    ];
    const norms = [...six.map((norm) => `layers.3.${norm}`), "norm"];
    assert.equal(learnt({ adapt: "norms", layers: 1, targets: ["q_proj"] }), norms);
  });

  for (const adapt of both)
    test(`${name}: ${adapt}: layers computed again give the same bits, and so does a session that goes on from a snapshot`, async () => {
      using model = await loadModel(device, pathOf("families/llama"));
      const options = { chunk: 8, window: 12, recipe: { ...recipe, adapt, lr: 1e-2, guard: 1 } };
      const learnt = async (changes: object, stops: boolean) => {
        let session = new Session(model, { ...options, ...changes });
        session.prefill(ids);
        const records: object[] = [];
        while (session.learnt < ids.length) {
          const { base_nll, lora_nll, train_loss, undone } = await session.learn();
          records.push({ base_nll, lora_nll, train_loss, undone });
          if (!stops) continue;
          const snapshot = await session.snapshot();
          session.dispose();
          session = new Session(model, snapshot.options);
          await session.restore(snapshot);
        }
        const { learner } = await session.snapshot();
        session.dispose();
        return { records, values: learner?.values };
      };
      const wanted = await learnt({}, false);
      assert.equal(await learnt({ checkpointLayers: 3 }, false), wanted);
      assert.equal(await learnt({}, true), wanted);
    });
}

test("what is no LoRA is not kept, and a LoRA that is loaded is nothing else", async () => {
  const [cpu] = devices;
  if (!cpu) throw new Error("there is always a cpu");
  using model = await loadModel(cpu.device, tiny);
  const path = join(temporaryFolder(), "adapter");
  const message = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => "done",
      (error: Error) => error.message,
    );
  using full = new Session(model, { recipe: { adapt: "full" } });
  const refused = "adapt full: what it learns is no LoRA, and only a LoRA can be kept, in peft's format";
  assert.is(await message(saveAdapter(full, path)), refused);
  using lora = new Session(model, { recipe: { rank: 4 } });
  await saveAdapter(lora, path);
  const adapter = await loadAdapter(model, path);
  const begin = () => new Session(model, { recipe: { adapt: "norms" }, adapter });
  assert.throws(begin, /^recipe\.adapt norms: the adapter of .* has lora; leave recipe\.adapt out$/);
  const ppl = ["ppl", fileURLToPath(import.meta.url), "--model", tiny, "--device", "cpu", "--adapt", "full"];
  const { code, stderr } = await templora([...ppl, "--save-adapter", `${path}-2`]);
  assert.is(code, 2);
  assert.match(stderr, /--save-adapter: --adapt full: what it learns is no LoRA, .*; leave one of them out/);
  const loaded = await templora([...ppl, "--load-adapter", path]);
  assert.match(loaded.stderr, /--adapt full: the adapter of .* has lora; leave --adapt out/);
});

test.run();
