/**
 * Every key of config.json and of GGUF metadata that transformers and the GGUF convention know is carried out as transformers
 * carries it out, refused by the name under which the file has it, or harmless (test/golden/keys.json).
 */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { BadInputError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import { describeFolder, describeGguf, families } from "../model/families/index.ts";
import { Keys } from "../model/keys.ts";
import { loadModel } from "../model/load.ts";
import { openModelFiles } from "../model/model_files.ts";
import { unread } from "../model/unread.ts";
import { changedModel } from "./support/changed_model.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { smallGguf, temporaryFolder } from "./support/model_files.ts";

interface Golden {
  readonly fields: Readonly<Record<string, readonly string[]>>;
  readonly rope: readonly string[];
  readonly gguf: readonly string[];
  readonly cases: readonly {
    readonly name: string;
    readonly family: string;
    readonly changes: Readonly<Record<string, unknown>>;
    readonly without: readonly string[];
    readonly loss?: number;
    readonly error?: string;
  }[];
}
type Fields = Readonly<Record<string, unknown>>;

const { fields, rope, gguf, cases } = readGolden<Golden>("keys.json");
const folder = temporaryFolder();
const device = await openCpu({ threads: 1, v8Flags: true });

/** What is refused, though transformers computes something (most often as if the key were not there), and why it is clear to whoever wrote it. */
const refused: Readonly<Record<string, RegExp>> = {
  "factor without a type":
    /config\.json: rope_scaling\.factor is 4, of which RoPE of type "default" knows nothing/,
  "factor of the default type": /rope_parameters\.factor is 4, of which RoPE of type "default"/,
  "type without a factor": /rope_scaling\.factor: expected a number above 0, got nothing/,
  "rope_scaling unlike rope_parameters": /rope_parameters\.factor is 4, of which rope_scaling says otherwise/,
  "rope_theta that rope_scaling hides":
    /rope_parameters\.rope_theta is 500, of which rope_scaling says otherwise/,
  "nested where kinds are not told apart": /rope_parameters\.full_attention is \{.*of which RoPE/,
  "yarn, original positions twice": /original_max_position_embeddings is 16, but rope_parameters says 32/,
  "yarn, mscale as text": /rope_parameters\.mscale: expected a number above 0, got "2\.0"/,
  "linear with a key of yarn": /rope_scaling\.beta_fast is 4, of which RoPE of type "linear" knows nothing/,
  "partial_rotary_factor outside": /config\.json: partial_rotary_factor is 0\.5/,
  "partial_rotary_factor inside": /rope_parameters\.partial_rotary_factor is 0\.5/,
  dynamic: /rope_scaling\.type: "dynamic" is not supported/,
  "rope_condense_ratio, which nobody knows":
    /rope_condense_ratio is 8, of which the family llama knows nothing/,
  is_causal: /is_causal is false/,
  "a window": /sliding_window is 7, of which the family llama/,
  "soft caps": /attn_logit_softcapping is 1\.5/,
  "layer_types, some not": /layer_types is \[/,
  "attention_bias that the family lacks": /attention_bias is true, of which the family mistral/,
  "window turned off, layers that have one":
    /layer_types has "sliding_attention", but there is no sliding_window/,
  "nested by layer_types": /rope_parameters\.full_attention is/,
  "mlp_bias that the family lacks": /mlp_bias is true/,
  "both directions": /use_bidirectional_attention is true/,
  "another hidden_act beside hidden_activation": /hidden_act is "relu"/,
  "flat rope_parameters": /rope_parameters\.rope_type: expected full_attention and sliding_attention/,
  "rope_scaling and rope_parameters":
    /rope_parameters\.full_attention is .* of which rope_scaling says otherwise/,
  "nested rope_scaling": /rope_scaling\.full_attention is/,
  "interval 0": /no_rope_layer_interval: expected a whole number from 1/,
};

for (const { name, family, changes, without, loss = NaN } of cases) {
  const expected = refused[name];
  test(`${family}, ${name}: ${expected ? "refused by name" : "the loss is transformers', to 1e-5"}`, async () => {
    const model = join(folder, name);
    cpSync(fileURLToPath(new URL(`families/${family}`, goldenFolder)), model, { recursive: true });
    const path = join(model, "config.json");
    const given = JSON.parse(readFileSync(path, "utf8")) as Fields;
    const kept = Object.entries(given).filter(([key]) => !without.includes(key));
    writeFileSync(path, JSON.stringify({ ...Object.fromEntries(kept), ...changes }));
    const run = async (): Promise<number> => {
      using llama = await loadModel(device, model);
      using task = new Task(device);
      const ids = Int32Array.from(readGolden<{ tokens: number[] }>(`families/${family}/golden.json`).tokens);
      const nll = llama.nll(llama.forward(llama.ids(task, ids.subarray(0, -1))), ids.subarray(1));
      return (await nll.data()).reduce((a, b) => a + b) / nll.length;
    };
    if (expected) {
      let error: unknown;
      await run().catch((e: unknown) => (error = e));
      assert.instance(error, BadInputError, String(error));
      assert.match((error as BadInputError).message, expected);
    } else {
      const got = await run();
      assert.ok(Math.abs(got / loss - 1) < 1e-5, `${got}, transformers ${loss}`);
    }
  });
}

/** A value that no key takes. */
const odd = { of: "tomorrow" };
const jsonOf = (family: string): Fields =>
  JSON.parse(readFileSync(new URL(`families/${family}/config.json`, goldenFolder), "utf8")) as Fields;
/** The names of the keys whose value is never looked at. */
const harmless = (kind: 0 | 1): Set<string | null> =>
  new Set(unread.filter(({ nothing }) => nothing === "any").map(({ name }) => name[kind]));
/** `describe` refuses `key`, which it was given an odd value for, by name, unless it is one of `free`. */
function namedOr(free: ReadonlySet<string | null>, key: string, describe: () => unknown): void {
  try {
    describe();
  } catch (error) {
    assert.instance(error, BadInputError, String(error));
    assert.match((error as BadInputError).message, key);
    return;
  }
  assert.ok(free.has(key), `${key} was ignored`);
}

for (const [family, known] of Object.entries(fields))
  test(`${family}: no field of transformers' configuration class is ignored, but for what is harmless`, () => {
    for (const key of known)
      namedOr(harmless(0), key, () => describeFolder({ ...jsonOf(family), [key]: odd }));
  });

test("no key of rope_parameters is ignored, with any type", () => {
  const types = { default: {}, linear: { factor: 2 }, yarn: { factor: 2 } };
  const free = new Set(["original_max_position_embeddings"]); // what it says only matters to some types
  for (const [rope_type, more] of Object.entries(types))
    for (const key of rope) {
      const rope_parameters = { rope_type, ...more, [key]: odd };
      namedOr(free, key, () => describeFolder({ ...jsonOf("llama"), rope_parameters }));
    }
});

for (const { architecture } of families)
  test(`GGUF, ${architecture}: no key of the convention is ignored, but for what is harmless`, () => {
    const needed = { "attention.sliding_window": 7, logit_scale: 1 }; // by some
    const smallest = Object.entries(smallGguf({ "general.architecture": architecture ?? "llama" }).metadata);
    const metadata = new Map(
      smallest.map(([key, value]) => [key.replace(/^llama/, `${architecture}`), value]),
    );
    for (const [key, value] of Object.entries(needed))
      if (architecture === (key === "logit_scale" ? "granite" : "gemma3"))
        metadata.set(`${architecture}.${key}`, value);
    for (const key of architecture === null ? [] : [...gguf, "of_tomorrow"])
      namedOr(harmless(1), key, () =>
        describeGguf(new Map([...metadata, [`${architecture}.${key}`, "odd"]]), { has: () => false }),
      );
  });

test("the head of a tied model, written once more: the embedding again, or refused", async () => {
  const untied = fileURLToPath(new URL("tiny-untied", goldenFolder));
  const [other, same] = [join(folder, "other"), join(folder, "same")];
  await using files = await openModelFiles(untied);
  const table = new Float32Array((await files.read("model.embed_tokens.weight")).buffer);
  changedModel(untied, other, "lm_head.weight", () => undefined);
  changedModel(untied, same, "lm_head.weight", (values) => values.set(table));
  for (const model of [other, same]) {
    const path = join(model, "config.json");
    const json = JSON.parse(readFileSync(path, "utf8")) as Fields;
    writeFileSync(path, JSON.stringify({ ...json, tie_word_embeddings: true }));
  }
  let error: unknown;
  await openModelFiles(other).catch((e: unknown) => (error = e));
  assert.instance(error, BadInputError);
  assert.match((error as BadInputError).message, "tie_word_embeddings is true, but lm_head.weight is not");
  await using tied = await openModelFiles(same);
  assert.not(tied.tensors.has("lm_head.weight"));
});

test("GGUF: what llama.cpp takes where a key is missing, and what asks for nothing", () => {
  const of = (more: Fields) =>
    describeGguf(new Map(Object.entries({ ...smallGguf(more as never).metadata })), {
      has: () => false,
    }).config;
  const usual = of({});
  assert.is(of({ "llama.rope.freq_base": undefined }).layers[0]?.rope?.rope_theta, 10000);
  const nothing = {
    ...{ "llama.attention.causal": true, "llama.expert_count": 0, "llama.expert_used_count": 0 },
    ...{ "llama.logit_scale": 0, "llama.attention.sliding_window": 0, "llama.rope.scaling.attn_factor": 1 },
    ...{ "llama.rope.scaling.finetuned": false, "llama.tensor_data_layout": "Meta AI original pth" },
  };
  assert.equal(of(nothing), usual);
  for (const [key, value] of Object.entries({
    ...{ "llama.attention.causal": false, "llama.expert_count": 8, "llama.attention.scale": 0.5 },
    ...{ "llama.logit_scale": 2, "llama.attention.sliding_window": 7, "llama.rope.scaling.attn_factor": 1.5 },
    ...{ "llama.rope.scaling.yarn_ext_factor": 0.5, "llama.attention.temperature_scale": 0.1 },
  }))
    assert.throws(() => of({ [key]: value }), new RegExp(`: ${key} is ${String(value)}, of which`));
});

test("GGUF: RoPE scaling half given, or given twice", () => {
  const scaling = (more: Fields): unknown =>
    describeGguf(new Map(Object.entries({ ...smallGguf(more as never).metadata })), { has: () => false })
      .config.layers[0]?.rope?.rope_scaling;
  const [type, factor] = ["llama.rope.scaling.type", "llama.rope.scaling.factor"];
  assert.equal(scaling({ [factor]: 4 }), { type: "linear", factor: 4 }, "llama.cpp's type is linear");
  assert.equal(scaling({ [factor]: 4, "llama.rope.scale_linear": 2 }), { type: "linear", factor: 4 });
  assert.throws(
    () => scaling({ [type]: "linear" }),
    /: llama\.rope\.scaling\.factor: expected a number above 0, got nothing/,
  );
  assert.throws(
    () => scaling({ [type]: "yarn" }),
    /: llama\.rope\.scaling\.factor: expected a number above 0, got nothing/,
  );
  assert.is(scaling({ [type]: "none", [factor]: 4 }), null, "llama.cpp never scales then");
  const yarn = { [type]: "yarn", [factor]: 4, "llama.rope.scaling.yarn_beta_fast": 16 };
  assert.is((scaling(yarn) as { beta_fast: number }).beta_fast, 16);
  assert.throws(
    () => scaling({ ...yarn, [type]: "linear" }),
    /: llama\.rope\.scaling\.yarn_beta_fast is 16, of which/,
  );
});

/** Of the family llama in config.json: values with which transformers computes what it computes without the key, and one with which not. */
const meanings: readonly (readonly [key: string, nothing: readonly unknown[], asks: unknown])[] = [
  ["is_causal", [true, null], false],
  ["use_bidirectional_attention", [false, null], true],
  ["sliding_window", [null, 0], 4096],
  ["use_sliding_window", [false], true],
  ["layer_types", [["full_attention", "full_attention"]], ["full_attention", "sliding_attention"]],
  ["sliding_window_pattern", [null], 6],
  ["attn_logit_softcapping", [null, 0], 50],
  ["query_pre_attn_scalar", [null], 256],
  ["attention_multiplier", [null, 0], 0.5],
  ["clip_qkv", [null, 0], 8],
  ["partial_rotary_factor", [1, null], 0.5],
  ["rope_local_base_freq", [null], 10000],
  ["no_rope_layers", [[1, 1], null], [1, 0]],
  ["no_rope_layer_interval", [null], 4],
  ["rope_interleaved", [false], true],
  ["embedding_multiplier", [1], 12],
  ["residual_multiplier", [1], 0.22],
  ["logits_scaling", [1], 8],
  ["final_logit_softcapping", [null, 0], 30],
  ["hidden_activation", ["silu", null], "gelu_pytorch_tanh"],
  ["per_layer_config", [null], { "0": {} }],
  ["quantization_config", [null], { quant_method: "gptq" }],
  ["num_experts", [0, null], 8],
  ["num_local_experts", [0, null], 8],
  ["is_encoder_decoder", [false], true],
  ["add_cross_attention", [false], true],
];

/** As files of the model hub have them. */
const harmlessThere: Fields = {
  ...{ attention_dropout: 0.1, attn_pdrop: 0.1, attention_probs_dropout_prob: 0.1, initializer_range: 0.02 },
  ...{ pretraining_tp: 4, attn_implementation: "sdpa", _attn_implementation: "eager" },
  ...{ _attn_implementation_autoset: true, _flash_attn_2_enabled: true, use_flash_attn: true },
  ...{ use_flash_attention: true, use_flash_attention_2: true, _experts_implementation: "eager" },
  ...{
    chunk_size_feed_forward: 0,
    output_attentions: true,
    max_window_layers: 28,
    _sliding_window_pattern: 6,
  },
};

test("each key that llama does not read: taken where it asks for nothing, refused where it asks for something", () => {
  const usual = describeFolder(jsonOf("llama"));
  const having = (more: Fields) => describeFolder({ ...jsonOf("llama"), ...more });
  for (const [key, nothing, asks] of meanings) {
    for (const value of nothing)
      assert.equal(having({ [key]: value }).config, usual.config, `${key} ${JSON.stringify(value)}`);
    assert.throws(
      () => having({ [key]: asks }),
      new RegExp(`config\\.json: ${key} is .*, of which the family llama`),
    );
  }
  for (const [key, value] of Object.entries(harmlessThere))
    assert.equal(having({ [key]: value }).config, usual.config, key);
});

type Value = number | boolean | string;
/** The same of GGUF, where llama.cpp takes 0 as "not there". */
const meaningsGguf: readonly (readonly [key: string, nothing: readonly Value[], asks: Value | null])[] = [
  ["attention.causal", [true], false],
  ["attention.sliding_window", [0], 4096],
  ["attention.sliding_window_pattern", [], 6],
  ["attn_logit_softcapping", [0], 50],
  ["attention.scale", [0], 0.5],
  ["attention.clamp_kqv", [0], 8],
  ["attention.max_alibi_bias", [0], 8],
  ["rope.freq_base_swa", [], 10000],
  ["rope.scaling.attn_factor", [1], 2],
  ["rope.scaling.alpha", [0], 1000],
  ["rope.scaling.yarn_log_multiplier", [0], 0.1],
  ["rope.scaling.finetuned", [true, false], null],
  ["rope.scaling.original_context_length", [4096], null],
  ["embedding_scale", [0, 1], 12],
  ["residual_scale", [0, 1], 0.22],
  ["logit_scale", [0, 1], 8],
  ["final_logit_softcapping", [0], 30],
  ["expert_count", [0], 8],
  ["expert_used_count", [0], 2],
  ["expert_shared_count", [0], 1],
  ["leading_dense_block_count", [0], 1],
  ["nextn_predict_layers", [0], 1],
  ["use_parallel_residual", [false], true],
  ["swin_norm", [false], true],
  ["tensor_data_layout", ["Meta AI original pth"], null],
  ["pooling_type", [0, 1], null],
];

test("GGUF: each key that llama does not read, in the same way", () => {
  const having = (more: Readonly<Record<string, Value>>) =>
    describeGguf(new Map(Object.entries({ ...smallGguf().metadata, ...more })), { has: () => false }).config;
  const usual = having({});
  for (const [key, nothing, asks] of meaningsGguf) {
    for (const value of nothing) assert.equal(having({ [`llama.${key}`]: value }), usual, key);
    if (asks !== null)
      assert.throws(
        () => having({ [`llama.${key}`]: asks }),
        new RegExp(`: llama\\.${key} is ${String(asks)}, of which the family llama`),
      );
  }
});

const keysOf = (object: Fields): Keys =>
  new Keys({
    nameOf: ([json]) => json,
    lookUp: (key) => object[key],
    present: () => Object.keys(object),
    spell: (key) => `f: ${key}`,
    concerns: (key) => key.startsWith("x_"),
  });

test("a key is what it is read as, or its default, or refused by name", () => {
  const keys = keysOf({
    ...{ zero: 0, one: 1, half: 0.5, yes: true, no: false, none: null, two: [1, 2], word: "a" },
    ...{ least: 2 ** -40, below: 2 ** -41, most: 2 ** 40, above: 2 ** 41 },
  });
  const at = (name: string) => [name, null] as const;
  assert.equal(keys.find(at("none")), { value: undefined, where: "f: none", off: true });
  assert.equal(keys.find(at("gone")), { value: undefined, where: "f: gone", off: false });
  assert.equal(keys.find([null, "other"]), { value: undefined, where: "f: other", off: false });
  assert.equal(keys.asked, [at("none"), at("gone")], "a name that this kind of file lacks is not asked for");
  assert.equal([keys.size(at("one")), keys.size(at("gone"), 7), keys.size(at("none"), 7)], [1, 7, 7]);
  assert.equal([keys.positive(at("half")), keys.positive(at("gone"), 0)], [0.5, 0]);
  assert.equal([keys.count(at("zero"), 5), keys.count(at("gone"), 5)], [0, 5]);
  assert.equal(
    [keys.flag(at("yes")), keys.flag(at("no"), true), keys.flag(at("gone"))],
    [true, false, false],
  );
  assert.equal([keys.flag(at("gone"), true), keys.flag(at("none"), true)], [true, true]);
  assert.equal([keys.multiplier(at("least"), 1), keys.multiplier(at("most"), 1)], [2 ** -40, 2 ** 40]);
  assert.equal(
    [keys.window(at("one"), 9), keys.window(at("gone"), 9), keys.window(at("none"), 9)],
    [1, 9, 0],
  );
  assert.equal([keys.cap(at("half"), 30), keys.cap(at("gone"), 30), keys.cap(at("none"), 30)], [0.5, 30, 0]);
  assert.equal([keys.list(at("two"), 2), keys.list(at("gone"), 2)], [[1, 2], null]);
  keys.only(at("word"), ["a", "b"], "a and b");
  keys.only(at("gone"), ["a"], "a");
  for (const [read, says] of [
    [() => keys.size(at("zero"), 3), "f: zero: expected a whole number from 1"],
    [() => keys.size(at("gone")), "f: gone: expected a whole number from 1 .* got nothing"],
    [() => keys.window(at("gone"), undefined), "f: gone: expected a whole number from 1 .* got nothing"],
    [() => keys.positive(at("zero")), "f: zero: expected a number above 0"],
    [() => keys.count(at("half"), 1), "f: half: expected a whole number from 0"],
    [() => keys.flag(at("one")), "f: one: expected true or false"],
    [() => keys.multiplier(at("below"), 1), "f: below: expected a number from 2\\^-40 to 2\\^40"],
    [() => keys.cap(at("above"), 1), "f: above: expected a number from 2\\^-40 to 2\\^40"],
    [() => keys.list(at("two"), 3), "f: two has 2 entries for 3 layers"],
    [() => keys.list(at("word"), 1), "f: word: expected a list"],
    [() => keys.only(at("word"), ["b"], "b"), 'f: word is "a"; templora runs b'],
  ] as const)
    assert.throws(read, new RegExp(`^${says}`), says);
});

test("what nothing read: refused where it may matter and asks for something", () => {
  const unreadKeys = [
    { name: ["known", null], nothing: [0] },
    { name: ["free", null], nothing: "any" },
  ] as const;
  const refuse =
    (object: Fields, read: readonly string[] = []) =>
    () => {
      const keys = keysOf(object);
      for (const key of read) keys.find([key, null]);
      keys.refuseRest("they", unreadKeys);
    };
  for (const object of [
    { known: 0, free: 7, other: 7, x_off: false, x_null: null },
    { known: [0, null, 0] },
    { x_off: [false] },
  ])
    refuse(object)();
  refuse({ known: 1, x_new: 1 }, ["known", "x_new"])();
  assert.throws(refuse({ known: 1 }), /^f: known is 1, of which they knows nothing/);
  assert.throws(refuse({ known: [0, 1] }), /^f: known is \[0,1\], of which they/);
  assert.throws(refuse({ x_new: 0 }), /^f: x_new is 0, of which they/);
  assert.throws(refuse({ "x_\n": 1 }), /^f: "x_\\n" is 1, of which they/);
});

test.after(() => device.close());
test.run();
