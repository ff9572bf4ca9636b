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
import { loadModel } from "../model/load.ts";
import { openModelFiles } from "../model/model_files.ts";
import { unread } from "../model/unread.ts";
import { changedModel } from "./support/changed_model.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { smallGguf, temporaryFolder } from "./support/model_files.ts";

interface Keys {
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

const { fields, rope, gguf, cases } = readGolden<Keys>("keys.json");
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

test.after(() => device.close());
test.run();
