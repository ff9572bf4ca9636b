/**
 * Every family of models, tiny and random, against transformers + peft in float64 (test/golden/README.md, families/), on each
 * device: logits, gradients of an adapter, ten AdamW steps, the loop, decoding token by token; and from GGUF the same model as from Hugging Face's folder.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { AdamW } from "../engine/optim/adamw.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { at } from "../kernels/base/at.ts";
import { widen } from "../kernels/formats/index.ts";
import type { LayerFacts, ModelConfig } from "../model/config.ts";
import { Decoder } from "../model/decoder.ts";
import { describeFolder, families } from "../model/families/index.ts";
import { KVCache } from "../model/kv_cache.ts";
import { Llama } from "../model/llama.ts";
import { openModelFiles } from "../model/model_files.ts";
import { Adapter } from "../templora/adapter.ts";
import { readText } from "../templora/api.ts";
import { allTargets, recipes } from "../templora/config.ts";
import { Session, loadModel } from "../templora/index.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { type GoldenLoop, goldenFolder, readGolden, readTensors, relativeError } from "./support/golden.ts";
import { ggufBytes, interleaveRows, smallGguf, temporaryFolder } from "./support/model_files.ts";
import { record as keepRecord } from "./support/record.ts";

interface Golden {
  readonly tokens: readonly number[];
  /** More than LongRoPE's original positions. */
  readonly longer?: readonly number[];
  readonly adapter: { readonly rank: number; readonly alpha: number };
  readonly adapter_loss: number;
  readonly step_lr: number;
  readonly adamw_losses: readonly number[];
  readonly recipe: GoldenLoop["recipe"];
  readonly chunks: GoldenLoop["chunks"];
  readonly versions: Readonly<Record<string, string>>;
  readonly architecture: string;
  readonly gguf_names: Readonly<Record<string, string>>;
}

const BOUND = 1e-4;
const pathOf = (name: string): string => fileURLToPath(new URL(`families/${name}`, goldenFolder));
const names = readdirSync(pathOf("")).sort();
const folder = temporaryFolder();

test("every family has a golden model", () => {
  assert.equal(names, families.map(({ model_type }) => model_type).sort());
});

for (const { name: deviceName, device } of await openTestDevices()) {
  const errors: Record<string, number> = {};
  let versions = "";
  for (const name of names) {
    const { tokens, adapter: shape, ...want } = readGolden<Golden>(`families/${name}/golden.json`);
    versions = `transformers ${want.versions["transformers"]} and peft ${want.versions["peft"]}`;
    const golden = readTensors(`families/${name}/golden.safetensors`);
    const ids = Int32Array.from(tokens);
    const within = (what: string, got: ArrayLike<number>, want: ArrayLike<number> | undefined): void => {
      const error = relativeError(got, want ?? []);
      errors[name] = Math.max(error, errors[name] ?? 0);
      assert.ok(error <= BOUND, `${what}: relative error ${error.toExponential(2)} exceeds ${BOUND}`);
    };
    const load = async (): Promise<Llama> => {
      await using modelFiles = await openModelFiles(pathOf(name));
      return await Llama.load(device, modelFiles);
    };
    const goldenAdapter = (model: Llama): Adapter => {
      const adapter = new Adapter(
        model,
        { ...shape, scaling: "lora", dropout: 0, targets: allTargets, layers: 0 },
        0,
      );
      for (const { name } of adapter.parameters.specs)
        adapter.parameters.set(name, golden.get(`adapter.${name}`) ?? new Float32Array());
      return adapter;
    };

    test(`${deviceName} ${name}: logits, loss and gradients of an adapter, ten AdamW steps`, async () => {
      using model = await load();
      using adapter = goldenAdapter(model);
      using task = new Task(device);
      using optimizer = new AdamW(task, adapter.parameters, { ...recipes.paper, weight_decay: 0 });
      within(
        "base",
        await model.logits(model.forward(model.ids(task, ids))).data(),
        golden.get("logits.base"),
      );
      const count = ids.length - 1;
      for (const [step, loss] of want.adamw_losses.entries()) {
        using _scope = task.scope();
        const { result: nll, tape } = record(task, () => {
          const hidden = model.forward(model.ids(task, ids.subarray(0, -1)), { adapter });
          return model.nll(hidden, ids.subarray(1));
        });
        optimizer.zeroGradients();
        tape.backward(nll, task.tensor(new Float32Array(count).fill(1 / count), [count]));
        within(`loss of step ${step}`, [(await nll.data()).reduce((a, b) => a + b) / count], [loss]);
        for (const { name } of step === 0 ? adapter.parameters.specs : []) {
          const { grad } = adapter.parameters.get(name);
          assert.ok(grad);
          within(`gradient of ${name}`, await grad.data(), golden.get(`grad.${name}`));
        }
        optimizer.step(want.step_lr);
      }
      for (const { name } of adapter.parameters.specs) {
        const values = await adapter.parameters.get(name).data();
        within(`${name} after ten steps`, values, golden.get(`step10.${name}`));
      }
    });

    test(`${deviceName} ${name}: the whole loop, four chunks`, async () => {
      using model = await load();
      const { seed, chunk, window, train_window: trainWindow, reuse_cache: _, ...recipe } = want.recipe;
      const records = readText(model, ids, {
        ...{ seed, chunk, window, trainWindow, baseline: true, templora: true },
        recipe: { scaling: "lora", context_grad: true, ...recipe, targets: allTargets },
      });
      let index = 0;
      for await (const { base_nll, lora_nll, train_loss } of records) {
        const loss = at(want.chunks, index++);
        within("base_nll", [base_nll ?? NaN], [loss.base_nll]);
        within("lora_nll", [lora_nll ?? NaN], [loss.lora_nll]);
        within("train_loss", train_loss, loss.train_loss);
      }
      assert.is(index, 4);
    });

    test(`${deviceName} ${name}: token by token through a cache`, async () => {
      using model = await load();
      using adapter = goldenAdapter(model);
      using task = new Task(device);
      using cache = new KVCache(device, model.config, ids.length);
      using decoder = new Decoder(task, model, cache, adapter);
      const want = golden.get("logits.adapter") ?? new Float32Array();
      const V = model.config.vocab_size;
      const first = 5;
      for (let end = first; end <= ids.length; end++) {
        using _scope = task.scope();
        const hidden = decoder.read(ids.subarray(end === first ? 0 : end - 1, end));
        within(`token ${end}`, await model.logits(hidden).data(), want.subarray((end - 1) * V, end * V));
      }
    });

    if (want.longer)
      test(`${deviceName} ${name}: beyond LongRoPE's original positions, at once and through a cache`, async () => {
        const ids = Int32Array.from(want.longer ?? []);
        const logits = golden.get("logits.longer") ?? new Float32Array();
        using model = await loadModel(device, pathOf(name), { positions: ids.length });
        using task = new Task(device);
        within("at once", await model.logits(model.forward(model.ids(task, ids))).data(), logits);
        using cache = new KVCache(device, model.config, ids.length);
        using decoder = new Decoder(task, model, cache, null);
        const V = model.config.vocab_size;
        for (let end = 50; end <= ids.length; end++) {
          using _scope = task.scope();
          const hidden = decoder.read(ids.subarray(end === 50 ? 0 : end - 1, end));
          within(`token ${end}`, await model.logits(hidden).data(), logits.subarray((end - 1) * V, end * V));
        }
      });
  }
  test(`${deviceName}: what was found is recorded`, () => {
    assert.equal(Object.keys(errors), names);
    keepRecord(`families-${deviceName}`, { device: deviceName, versions, bound: BOUND, errors });
  });
}

/** How the families' converters (convert_hf_to_gguf.py) write what is not the same in all of them, and what GGUF cannot say. */
interface InGguf {
  /** More metadata, without the architecture. */
  readonly metadata?: Readonly<Record<string, number>>;
  /** More tensors. */
  readonly vectors?: Readonly<Record<string, readonly number[]>>;
  readonly interleaved?: true;
  readonly gainsPlusOne?: true;
  /** What a layer is when it is read again: GGUF has no place for some settings of the golden models. */
  readonly layer?: (layer: LayerFacts, i: number) => Partial<LayerFacts>;
}
const everyWindow = (): Partial<LayerFacts> => ({ window: 0 });
const inGguf: Readonly<Record<string, InGguf>> = {
  llama: { interleaved: true },
  mistral: { interleaved: true, layer: everyWindow },
  qwen2: { layer: everyWindow },
  qwen3: {},
  gemma2: {
    gainsPlusOne: true,
    metadata: {
      "attention.sliding_window": 7,
      attn_logit_softcapping: 1.5,
      final_logit_softcapping: 3,
    },
    layer: () => ({ attention_scale: 12 ** -0.5 }),
  },
  gemma3_text: {
    gainsPlusOne: true,
    metadata: { "attention.sliding_window": 7, "rope.freq_base": 1e6, "rope.scaling.factor": 4 },
    layer: () => ({
      attention_scale: 12 ** -0.5,
      window: 7,
      rope: { head_dim: 12, rope_theta: 1e4, rope_scaling: null },
    }),
  },
  granite: {
    interleaved: true,
    metadata: {
      embedding_scale: 3,
      "attention.scale": 0.2,
      residual_scale: 0.22,
      logit_scale: 2.5,
    },
  },
  olmo2: { metadata: { "rope.freq_base": 5e5 } },
  smollm3: {
    interleaved: true,
    metadata: { "rope.freq_base": 2e6 },
    layer: (_, i) => ({ rope: i === 3 ? null : { head_dim: 8, rope_theta: 2e6, rope_scaling: null } }),
  },
  phi3: {
    metadata: {
      ...{ context_length: 256, "attention.sliding_window": 7, "rope.dimension_count": 12 },
      "rope.scaling.original_context_length": 64,
      "rope.scaling.attn_factor": Math.sqrt(1 + Math.log(4) / Math.log(64)),
    },
    vectors: {
      "rope_factors_short.weight": [1, 1.05, 1.2, 1.5, 2, 3],
      "rope_factors_long.weight": [1, 2, 3, 5, 8, 16],
    },
  },
};
/** Numbers as GGUF's f32 holds them. */
const rounded = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value), (_, x: unknown) => (typeof x === "number" ? Math.fround(x) : x));

for (const name of names) {
  test(`${name}: a GGUF file made of the folder is the same model`, async () => {
    const { architecture, gguf_names } = readGolden<Golden>(`families/${name}/golden.json`);
    const { metadata = {}, vectors = {}, interleaved, gainsPlusOne, layer } = { ...inGguf[name] };
    await using original = await openModelFiles(pathOf(name));
    const { config } = original;
    const prefixed = Object.entries({
      ...{ vocab_size: config.vocab_size, block_count: config.num_hidden_layers },
      ...{ context_length: config.max_position_embeddings, embedding_length: config.hidden_size },
      feed_forward_length: config.intermediate_size,
      "attention.head_count": config.num_attention_heads,
      "attention.head_count_kv": config.num_key_value_heads,
      "attention.key_length": config.head_dim,
      "attention.value_length": config.head_dim,
      "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
      "rope.freq_base": 10000,
      ...metadata,
    }).map(([key, value]) => [`${architecture}.${key}`, value] as const);
    const vocabulary = Object.entries(smallGguf().metadata).filter(([key]) => key.startsWith("tokenizer."));
    const tensors = Object.entries(vectors).map(([name, values]) => ({
      ...{ name, type: 0, dims: [values.length] },
      data: new Uint8Array(Float32Array.from(values).buffer),
    }));
    const wholes = new Map<string, { rows: number; data: Uint8Array[]; width: number[] }>();
    for (const [tensor, { dtype, shape, inFile }] of original.tensors) {
      const stored = await original.read(tensor);
      const heads = /q_proj/.test(tensor) ? config.num_attention_heads : config.num_key_value_heads;
      const ordered =
        interleaved && /[qk]_proj/.test(tensor) ? interleaveRows(stored, heads, at(shape, 0)) : stored;
      const f32 = Float32Array.from(widen(dtype, ordered), (x) =>
        gainsPlusOne && /norm/.test(tensor) ? 1 + x : x,
      );
      // linear layers that share a tensor, one after the other
      const whole = wholes.get(inFile) ?? { rows: 0, data: [], width: shape.slice(1) };
      wholes.set(inFile, whole);
      whole.rows += at(shape, 0);
      whole.data.push(new Uint8Array(f32.buffer));
    }
    for (const [tensor, { rows, data, width }] of wholes)
      tensors.push({
        ...{ name: gguf_names[tensor] ?? tensor, type: 0, dims: [...width, rows] },
        data: Buffer.concat(data),
      });
    const path = join(folder, `${name}.gguf`);
    writeFileSync(
      path,
      ggufBytes({
        metadata: {
          "general.architecture": architecture,
          ...Object.fromEntries(prefixed),
          ...Object.fromEntries(vocabulary),
          ...{ "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1 },
        },
        tensors,
      }),
    );
    await using copy = await openModelFiles(path);
    const layers = config.layers.map((facts, i) => ({ ...facts, ...layer?.(facts, i) }));
    assert.equal(rounded(copy.config), rounded({ ...config, layers }));
    assert.equal([...copy.tensors.keys()], [...original.tensors.keys()]);
    for (const [tensor, { dtype, lessOne }] of original.tensors) {
      const values = Float32Array.from(widen(dtype, await original.read(tensor)), (x) =>
        lessOne ? 1 + x : x,
      );
      assert.equal(new Float32Array((await copy.read(tensor)).buffer), values, tensor);
    }
  });
}

test("beyond LongRoPE's original positions: for runs whose windows ask for it", async () => {
  const path = pathOf("phi3");
  const book = fileURLToPath(new URL("moby-dick-excerpt.txt", goldenFolder));
  const ppl = async (...windows: string[]): Promise<[windows: unknown, base_nll: unknown]> => {
    const flags = ["--no-templora", "--max-tokens", "90", "--device", "cpu", "--json", "-"];
    const { stdout, stderr } = await templora(["ppl", book, "--model", path, ...flags, ...windows]);
    if (stdout === "") return [stderr, null];
    const [config, chunk] = jsonLines(stdout);
    return [[config?.["chunk"], config?.["window"]], chunk?.["base_nll"]];
  };
  await using device = await openCpu({});
  const nll = async (positions: number, chunk: number): Promise<number | null | undefined> => {
    using model = await loadModel(device, path, { positions });
    const ids = Int32Array.from(model.tokenizer.encode(readFileSync(book, "utf8")).slice(0, 90));
    const records = readText(model, ids, { chunk, window: 20, templora: false });
    for await (const { base_nll } of records) return base_nll;
    return null;
  };
  assert.equal(await ppl(), [[32, 32], await nll(0, 32)]);
  assert.equal(await ppl("--chunk", "30", "--window", "34"), [[30, 34], await nll(64, 30)]);
  assert.equal(await ppl("--chunk", "30", "--window", "35"), [[30, 35], await nll(65, 30)]);
  assert.equal(await ppl("--chunk", "30", "--window", "9", "--train-window", "35"), [
    [30, 9],
    await nll(65, 30),
  ]);
  assert.not.equal(await nll(64, 30), await nll(65, 30));
  assert.match(
    String(await ppl("--chunk", "30", "--window", "227")),
    /--window 227 and --chunk 30 exceed the model's 256 positions; choose --window at most 226/,
  );
  using model = await loadModel(device, path);
  assert.throws(
    () => new Session(model, { chunk: 30, window: 35 }),
    /window 35 \+ chunk 30 exceed the model's 64 positions: lower window or chunk, or load the model for more/,
  );
});

const json = (name: string, changes: Readonly<Record<string, unknown>>): ModelConfig => {
  const text = readFileSync(join(pathOf(name), "config.json"), "utf8");
  const fields = { ...(JSON.parse(text) as Record<string, unknown>), ...changes };
  return describeFolder(fields).config;
};

test("config.json as transformers 4 wrote it, and with what it left out", () => {
  const older = { rope_parameters: undefined, layer_types: undefined };
  const gemma = json("gemma3_text", {
    ...older,
    ...{ rope_theta: 1e6, rope_local_base_freq: 1e4, rope_scaling: { rope_type: "linear", factor: 4 } },
    sliding_window_pattern: 3,
  });
  assert.equal(gemma.layers, json("gemma3_text", {}).layers);
  const windows = ({ layers }: ModelConfig): number[] => layers.map(({ window }) => window);
  assert.equal(windows(json("gemma2", older)), [7, 0, 7, 0]);
  assert.equal(windows(json("qwen2", older)), [0, 0, 7, 7]);
  assert.equal(windows(json("qwen2", { ...older, use_sliding_window: false })), [0, 0, 0, 0]);
  assert.equal(windows(json("mistral", {})), [7, 7, 7, 7]);
  assert.equal(windows(json("mistral", { sliding_window: null })), [0, 0, 0, 0]);
  assert.equal(windows(json("mistral", { sliding_window: undefined })), [4096, 4096, 4096, 4096]);
  const smollm3 = json("smollm3", { ...older, no_rope_layers: undefined, rope_theta: 5e6 });
  assert.equal(
    smollm3.layers.map(({ rope }) => rope?.rope_theta ?? 0),
    [5e6, 5e6, 5e6, 0],
  );
  const uncapped = json("gemma2", { attn_logit_softcapping: null, final_logit_softcapping: null });
  assert.equal([uncapped.final_logit_softcapping, uncapped.layers[0]?.attn_logit_softcapping], [0, 0]);
  const usual = json("gemma2", {
    ...{ attn_logit_softcapping: undefined, final_logit_softcapping: undefined },
    ...{ head_dim: undefined, query_pre_attn_scalar: undefined, tie_word_embeddings: undefined },
  });
  assert.equal([usual.final_logit_softcapping, usual.layers[0]?.attn_logit_softcapping], [30, 50]);
  assert.equal([usual.head_dim, usual.layers[0]?.attention_scale], [256, 1 / 16]);
  assert.is(usual.tie_word_embeddings, true);
  assert.is(json("qwen3", { head_dim: undefined }).head_dim, 128);
});

for (const [name, changes, expected] of [
  ["gemma2", { hidden_activation: "relu" }, /hidden_activation is "relu"/],
  ["qwen3", { hidden_act: "gelu" }, /hidden_act is "gelu"/],
  ["gemma3_text", { use_bidirectional_attention: true }, /use_bidirectional_attention is true/],
  ["qwen2", { layer_types: ["full_attention"] }, /layer_types has 1 entries for 4 layers/],
  ["qwen2", { layer_types: Array(4).fill("chunked_attention") }, /layer_types has "chunked_attention"/],
  ["smollm3", { no_rope_layers: [1, 0] }, /no_rope_layers has 2 entries for 4 layers/],
  ["granite", { residual_multiplier: -1 }, /residual_multiplier: expected a number above 0, got -1/],
  ["mistral", { sliding_window: "7" }, /sliding_window: expected a whole number .*, got "7"/],
  ["gemma2", { sliding_window: 2.5 }, /sliding_window: expected a whole number .*, got 2\.5/],
  ["gemma2", { sliding_window: null }, /layer_types has "sliding_attention", but there is no sliding_window/],
  [
    "gemma2",
    { attn_logit_softcapping: 1e30 },
    /attn_logit_softcapping: expected a number from 2\^-40 to 2\^40/,
  ],
  ["gemma2", { final_logit_softcapping: 1e-60 }, /final_logit_softcapping: expected a number from 2\^-40 to/],
  ["granite", { logits_scaling: 1e-40 }, /logits_scaling: expected a number from 2\^-40 to 2\^40, got 1e-40/],
  ["granite", { embedding_multiplier: 1e30 }, /embedding_multiplier: expected a number from 2\^-40 to 2\^40/],
  [
    "smollm3",
    { no_rope_layers: ["1", "0", "1", "0"] },
    /no_rope_layers\[0\]: expected a whole number from 0 to 1, got "1"/,
  ],
  [
    "llama",
    { rope_parameters: { rope_theta: "1e4" } },
    /config\.json: rope_parameters\.rope_theta: expected a number above 0, got "1e4"/,
  ],
  ["qwen2", { use_sliding_window: "true" }, /use_sliding_window: expected true or false, got "true"/],
  ["qwen3", { attention_bias: "yes" }, /attention_bias: expected true or false, got "yes"/],
  ["mistral", { tie_word_embeddings: "yes" }, /tie_word_embeddings: expected true or false, got "yes"/],
] as const) {
  test(`${name} refuses ${JSON.stringify(changes)}`, () => {
    assert.throws(() => json(name, changes), expected);
  });
}

test.run();
