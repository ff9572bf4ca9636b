/**
 * Writes the inputs that a fuzzer begins with to test/fuzz/corpus, those with names: `npx tsx scripts/fuzz/seeds.ts`. A GGUF model of every architecture,
 * one with every type of metadata and of tensors, one in two parts; config.json of every family; a right one of everything else.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { byteLength } from "../../kernels/base/dtype.ts";
import { formats, weightDTypes } from "../../kernels/formats/index.ts";
import { describeFolder, describeGguf, families } from "../../model/families/index.ts";
import { tensorsOf } from "../../model/family.ts";
import type { GgufValue } from "../../model/gguf.ts";
import { type MetadataValue, type TensorSpec, ggufBytes } from "../../test/support/model_files.ts";
import { inputOf } from "./files.ts";
import { ggufEntry, withEntries } from "./gguf_entries.ts";
import { tensorFile } from "./targets/tensor_file.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const golden = (path: string): string => join(root, "test/golden", path);
const json = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(golden(path), "utf8")) as Record<string, unknown>;

function write(target: string, name: string, input: Uint8Array | string | object): void {
  const folder = join(root, "test/fuzz/corpus", target);
  mkdirSync(folder, { recursive: true });
  const isData = typeof input === "string" || input instanceof Uint8Array;
  writeFileSync(join(folder, name), isData ? input : JSON.stringify(input));
}

const tokens = ["<s>", "</s>", "a", "b", "ab", "▁", "Ġ"];
const sizes = { context_length: 16, embedding_length: 4, feed_forward_length: 4, block_count: 2 };

/** What the families have beside the sizes. */
const own: Readonly<Record<string, Readonly<Record<string, MetadataValue>>>> = {
  gemma2: { "attention.sliding_window": 7, attn_logit_softcapping: 50.5, final_logit_softcapping: 30.5 },
  gemma3: { "attention.sliding_window": 7, "rope.scaling.type": "linear", "rope.scaling.factor": 4 },
  granite: { embedding_scale: 3, "attention.scale": 0.25, residual_scale: 0.5, logit_scale: 2.5 },
  phi3: { "attention.sliding_window": 7, "rope.dimension_count": 2 },
  qwen3: { "rope.scaling.type": "yarn", "rope.scaling.factor": 4, "rope.scaling.original_context_length": 8 },
};

function ggufOf(
  architecture: string,
  kind: "gpt2" | "llama",
  more: Readonly<Record<string, MetadataValue>> = {},
  extra: readonly TensorSpec[] = [],
): Buffer {
  const numbers = {
    ...{ ...sizes, "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 2 },
    ...{ "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000, ...own[architecture] },
  };
  const metadata: Record<string, MetadataValue> = {
    "general.architecture": architecture,
    ...Object.fromEntries(Object.entries(numbers).map(([key, value]) => [`${architecture}.${key}`, value])),
    ...{ "tokenizer.ggml.model": kind, "tokenizer.ggml.tokens": tokens },
    ...(kind === "gpt2" && { "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.merges": ["a b"] }),
    ...(kind === "llama" && { "tokenizer.ggml.scores": tokens.map((_, i) => -i - 0.5) }),
    ...{ "tokenizer.ggml.token_type": [3, 3, 1, 1, 1, 1, 4] },
    ...{
      "tokenizer.ggml.bos_token_id": 0,
      "tokenizer.ggml.eos_token_id": 1,
      "tokenizer.ggml.add_bos_token": true,
    },
    ...more,
  };
  const divisors = extra.map(({ name }) => name);
  const known = new Map<string, GgufValue>(Object.entries(metadata));
  const facts = { has: (name: string) => name !== "output.weight" && divisors.includes(name) };
  const { family, config } = describeGguf(known, facts);
  const { embed_tokens, norm, layers } = tensorsOf(family, config);
  const specs = [embed_tokens, norm, ...layers.flatMap((layer) => Object.values(layer))];
  const stored = new Map(specs.map((spec) => [(spec.within ?? spec).gguf, (spec.within ?? spec).shape]));
  const tensors = [...stored].map(([name, shape]): TensorSpec => {
    const data = new Uint8Array(4 * shape.reduce((n, dim) => n * dim, 1));
    return { name, type: 0, dims: shape.toReversed(), data };
  });
  return Buffer.from(ggufBytes({ metadata, tensors: [...tensors, ...extra] }));
}

const vector = (name: string, ...values: number[]): TensorSpec => ({
  ...{ name, type: 0, dims: [values.length], data: new Uint8Array(Float32Array.from(values).buffer) },
});

const matrix = (name: string, width: number, rows: number): TensorSpec => ({
  ...{ name, type: 0, dims: [width, rows], data: new Uint8Array(4 * width * rows) },
});

for (const { model_type, architecture } of families) {
  const config = json(`families/${model_type}/config.json`);
  write("config.json", model_type, config);
  if (architecture !== null)
    write(
      "gguf",
      architecture,
      ggufOf(architecture, /gemma|mistral|phi/.test(architecture) ? "llama" : "gpt2"),
    );
}
write("gguf", "divisors", ggufOf("llama", "gpt2", {}, [vector("rope_freqs.weight", 2)]));
const template =
  "{% for m in messages %}{{ m['role'] + ': ' + m['content'] | trim }}{% endfor %}{{ eos_token }}";
write(
  "gguf",
  "template",
  ggufOf("llama", "gpt2", { "tokenizer.chat_template": template, "general.alignment": 32 }),
);
write("gguf", "types", withEntries(ggufOf("llama", "gpt2"), everyType()));
write(
  "gguf",
  "formats",
  Buffer.from(ggufBytes({ metadata: { "general.architecture": "llama" }, tensors: everyFormat() })),
);
const part = (no: number, tensors: readonly TensorSpec[]): Uint8Array =>
  ggufBytes({ metadata: { "split.no": no, "split.count": 2, "split.tensors.count": 21 }, tensors });
write("gguf", "parts", inputOf([["1", withEntries(ggufOf("llama", "gpt2"), splitEntries())], ["2", part(1, [matrix("output.weight", 4, 7)])]])); // prettier-ignore

function splitEntries(): Buffer[] {
  return [["split.no", 0], ["split.count", 2], ["split.tensors.count", 21]].map(([key, value]) => ggufEntry(String(key), 2, Number(value))); // prettier-ignore
}
/** Scalars of every type, and lists of them; a list of lists. */
function everyType(): Buffer[] {
  const types = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12];
  const lists = types.map((type) => ggufEntry(`test.list${type}`, type, [1, 0]));
  return [
    ...types.map((type) => ggufEntry(`test.scalar${type}`, type, 1)),
    ...lists,
    ggufEntry("test.lists", 9, [[1], []]),
  ];
}
function everyFormat(): TensorSpec[] {
  return weightDTypes.map((dtype) => ({
    ...{ name: dtype, type: formats[dtype].ggml, dims: [formats[dtype].block, 1] },
    data: new Uint8Array(byteLength(dtype, formats[dtype].block)),
  }));
}

write("config.json", "longrope", { ...json("families/phi3/config.json"), num_hidden_layers: 2 });
const wanted = [
  "linear in rope_scaling, as type",
  "llama3",
  "yarn, mscale",
  "nested yarn",
  "rope_scaling empty",
];
interface Case {
  readonly name: string;
  readonly family: string;
  readonly changes: object;
  readonly without: readonly string[];
}
for (const { name, family, changes, without } of json("keys.json")["cases"] as readonly Case[]) {
  const config = { ...json(`families/${family}/config.json`), ...changes };
  const kept = Object.entries(config).filter(([key]) => !without.includes(key));
  if (wanted.includes(name)) write("config.json", name.replaceAll(/\W+/g, "-"), Object.fromEntries(kept));
}

write("safetensors", "one", tensorFile("model.norm.weight"));
const two = { "__metadata__": { format: "pt" }, a: { dtype: "BF16", shape: [2], data_offsets: [0, 4] }, "b.rotary_emb.inv_freq": { dtype: "I64", shape: [1], data_offsets: [4, 12] } }; // prettier-ignore
const head = Buffer.from(JSON.stringify(two));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(head.length));
write("safetensors", "two", Buffer.concat([length, head, Buffer.alloc(12)]));
write("safetensors", "index", {
  metadata: { total_size: 32 },
  weight_map: { a: "a.safetensors", b: "b.safetensors" },
});

const { model, ...around } = json("families/llama/tokenizer.json");
const bpe = {
  ...(model as object),
  vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
  merges: [["a", "b"]],
};
write("tokenizer.json", "llama", { ...around, added_tokens: [{ id: 0, content: "<s>", special: true, normalized: false }], model: bpe }); // prettier-ignore
for (const { name, json: text } of tokenizers()) write("tokenizer.json", name, text);
write("tokenizer.json", "settings", inputOf([
  ["tokenizer.json", JSON.stringify({ model: bpe, added_tokens: [{ id: 0, content: "<s>", special: true }, { id: 1, content: "</s>", special: true }], decoder: { type: "ByteLevel" }, pre_tokenizer: { type: "ByteLevel", add_prefix_space: true, use_regex: true } })],
  ["tokenizer_config.json", JSON.stringify({ bos_token: "<s>", eos_token: { content: "</s>" }, chat_template: [{ name: "default", template }] })],
  ["generation_config.json", JSON.stringify({ eos_token_id: [1, 2] })],
  ["chat_template.jinja", `${template}{% if add_generation_prompt and messages | length > 0 %}{{ bos_token }}{% endif %}`],
])); // prettier-ignore

/** In the manner of sentencepiece, with every kind of part. */
function tokenizers(): { readonly name: string; readonly json: object }[] {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const vocab = Object.fromEntries([...tokens, ...bytes].map((token, id) => [token, id]));
  const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const back = { type: "Replace", pattern: { String: "▁" }, content: " " };
  const sentencepiece = {
    ...{ version: "1.0", added_tokens: [{ id: 0, content: "<s>", special: true, lstrip: true, rstrip: true, single_word: true }] },
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replace] },
    post_processor: { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }], special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } } },
    decoder: { type: "Sequence", decoders: [back, { type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }] },
    model: { type: "BPE", unk_token: "</s>", fuse_unk: true, byte_fallback: true, vocab, merges: ["a b"] },
  }; // prettier-ignore
  const split = { type: "Split", pattern: { Regex: "\\p{N}" }, behavior: "Isolated", invert: false };
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
  const plain = { added_tokens: [], model: { ...bpe, byte_fallback: false, unk_token: "a", fuse_unk: true } };
  return [
    { name: "sentencepiece", json: sentencepiece },
    {
      name: "metaspace",
      json: { ...plain, pre_tokenizer: metaspace, decoder: metaspace, normalizer: { type: "NFC" } },
    },
    { name: "split", json: { ...plain, normalizer: null, pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, split, { type: "ByteLevel", add_prefix_space: false, use_regex: false }] }, decoder: { type: "ByteLevel" }, post_processor: { type: "ByteLevel", trim_offsets: false } } }, // prettier-ignore
  ];
}

const pair = { zh: "鲸", en: "the whale" };
write("pairs", "two", [
  { contexts: { k1: [pair], k3: [pair, pair] }, inference: [pair] },
  { contexts: { k1: [] }, inference: [] },
]);

const place = { texts: [{ records: [{ chunk: 0 }], snapshot: { ids: { array: "i32", length: 2 }, learnt: 1, x: { array: "f32", length: 1 }, nll: { number: "NaN" } } }], numerics: [{ device: "cpu" }] }; // prettier-ignore
const state = (facts: object): Buffer =>
  Buffer.concat([Buffer.from(`${JSON.stringify({ magic: "templora-state-6", identity: "0123456789abcdef", facts })}\n`), Buffer.alloc(12)]); // prettier-ignore
write("checkpoint", "one", state(place));
write(
  "checkpoint",
  "done",
  state({ texts: [{ records: [], snapshot: null, written: "text" }], numerics: [] }),
);
write(
  "checkpoint",
  "before",
  inputOf([
    ["state", "damaged"],
    ["state.before", state(place)],
  ]),
);

const lora = { peft_type: "LORA", r: 2, lora_alpha: 4, use_rslora: false, target_modules: ["q_proj"], rank_pattern: {}, alpha_pattern: {}, bias: "none", lora_dropout: 0 }; // prettier-ignore
const weights = (r: number): Buffer => {
  const [name, bytes] = ["base_model.model.model.layers.0.self_attn.q_proj.lora", 16 * r];
  const tensors = { [`${name}_A.weight`]: { dtype: "F32", shape: [r, 4], data_offsets: [0, bytes] }, [`${name}_B.weight`]: { dtype: "F32", shape: [4, r], data_offsets: [bytes, 2 * bytes] } }; // prettier-ignore
  const header = Buffer.from(JSON.stringify(tensors));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([size, header, Buffer.alloc(2 * bytes)]);
};
const adapterOf = (config: object, r = 2): Buffer =>
  inputOf([["adapter_config.json", JSON.stringify(config)], ["adapter_model.safetensors", weights(r)]]); // prettier-ignore
write("adapter", "plain", adapterOf(lora));
write("adapter", "patterns", adapterOf({ ...lora, target_modules: ".*q_proj", rank_pattern: { "layers\\.0.*q_proj": 1 }, alpha_pattern: { q_proj: 3.5 } }, 1)); // prettier-ignore

write("divisors", "one", {
  rope_type: "longrope",
  factor: 4,
  short_factor: [1, 1, 1, 1],
  long_factor: [1, 2, 3, 4],
  attention_factor: 1.1,
});
for (const name of readdirSync(golden("families"))) if (describeFolder(json(`families/${name}/config.json`)).family.model_type !== name) throw new Error(name); // prettier-ignore

const commit = "0".repeat(39) + "1";
const body = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
const answers = (...all: unknown[]): string =>
  all.map((one) => `200\ncontent-type: application/json\n\n${body(one)}`).join("\n-- \n");
const listed = (path: string, content: string, large = false): object => {
  const size = Buffer.byteLength(content);
  const sum = createHash(large ? "sha256" : "sha1")
    .update(large ? content : `blob ${size}\0${content}`)
    .digest("hex");
  return {
    type: "file",
    path,
    size,
    oid: large ? commit : sum,
    ...(large && { lfs: { oid: sum, size, pointerSize: 130 } }),
  };
};
const facts = { _id: "1", id: "org/name", modelId: "org/name", sha: commit, private: false, gated: false, downloads: 0, likes: 0, tags: [], lastModified: "2026-01-01T00:00:00.000Z" }; // prettier-ignore
const small = JSON.stringify({ model_type: "llama", vocab_size: 8, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 1 }); // prettier-ignore
write("hub", "gguf", answers(facts, [listed("sub/model.gguf", "GGUF", true)], "GGUF"));
write("hub", "folder", answers(facts, [listed("config.json", small), listed("tokenizer.json", "{}"), listed("model.safetensors", "tensors", true)], small, "{}", "tensors")); // prettier-ignore
const index = JSON.stringify({ weight_map: { a: "a.safetensors" } });
write("hub", "index", answers(facts, [listed("config.json", small), listed("tokenizer.json", "{}"), listed("model.safetensors.index.json", index), listed("a.safetensors", "a", true)], index, small, "{}", index, "a")); // prettier-ignore
write("hub", "pages", `${answers(facts)}\n-- \n200\nlink: <http://hub.test/api/models/org/name/tree/x?cursor=4>; rel="next"\n\n${JSON.stringify([listed("a.gguf", "GGUF")])}\n-- \n${answers([listed("../../x", "x")])}`); // prettier-ignore
write("hub", "refused", "401\nx-error-code: GatedRepo\nx-error-message: no\n\n");
write("hub", "busy", `503\nretry-after: 1\n\n\n-- \n429\n\n\n-- \ncut\n-- \n${answers({})}`);
