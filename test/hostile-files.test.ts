/**
 * Damaged and hostile model files. Each must end in one BadInputError with one line that names the file and what is wrong:
 * never in a crash or a hang, and without memory for sizes that only the file claims.
 */
import { at as element } from "../kernels/base/at.ts";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { atOnce } from "../engine/turns.ts";
import { BadInputError } from "../engine/errors.ts";
import { openModelFiles } from "../model/model_files.ts";
import { describeFolder, describeGguf } from "../model/families/index.ts";
import { parseGguf } from "../model/gguf.ts";
import { tokenizerFromGguf } from "../model/gguf_tokenizer.ts";
import { parseSafetensorsHeader } from "../model/safetensors.ts";
import { readText } from "../model/text.ts";
import { goldenFolder } from "./support/golden.ts";
import {
  byteTokens,
  ggufBytes,
  type GgufSpec,
  safetensorsBytes,
  smallGguf,
  temporaryFolder,
  type TensorSpec,
} from "./support/model_files.ts";

const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
const write = (name: string, bytes: Uint8Array | string): string => {
  writeFileSync(at(name), bytes);
  return at(name);
};

async function refused(run: () => Promise<unknown>, expected: RegExp): Promise<void> {
  let error: unknown;
  await run().then(
    () => assert.unreachable(`accepted; expected ${expected}`),
    (e: unknown) => (error = e),
  );
  assert.instance(error, BadInputError, String(error));
  const { message } = error as BadInputError;
  assert.match(message, expected);
  assert.not.match(message, /\p{Cc}/u);
  assert.ok(message.length < 1000, "an error as long as the file");
}

const tensor = (name: string, change: Partial<TensorSpec>): GgufSpec =>
  smallGguf({}, (tensors) => tensors.map((t) => (t.name === name ? { ...t, ...change } : t)));
const k = "blk.0.attn_k.weight";
/** With one tensor more. */
const stray = (name: string): GgufSpec =>
  smallGguf({}, (tensors) => [...tensors, { name, type: 0, dims: [1], data: new Uint8Array(4) }]);

/** Its first key's name is all that follows. */
function greedyKey(): Uint8Array {
  const bytes = ggufBytes(smallGguf());
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(24, BigInt(bytes.length - 32), true);
  return bytes;
}

// prettier-ignore
const ggufCases: readonly [string, GgufSpec | Uint8Array, RegExp][] = [
  ["an empty file", new Uint8Array(), /not a GGUF file/],
  ["another kind of file", new TextEncoder().encode("PK\u0003\u0004 something else entirely"), /not a GGUF file/],
  ["version 1", { ...smallGguf(), version: 1 }, /version 1/],
  ["big-endian", { ...smallGguf(), version: 0x03000000 }, /version/],
  ["2^60 tensors", { ...smallGguf(), tensorCount: 1n << 60n }, /number of tensors/],
  ["a million tensors in a small file", { ...smallGguf(), tensorCount: 1_000_000n }, /number of tensors/],
  ["2^63 keys", { ...smallGguf(), keyCount: 1n << 63n }, /number of metadata keys/],
  ["one key too many", { ...smallGguf(), keyCount: 18n }, /./],
  ["the first of several files", { ...smallGguf({ "split.no": 0, "split.count": 3 }), tensors: [] }, /part 1 of 3 of a model; .* must end in -00001-of-00003\.gguf/],
  ["the second of several files", { metadata: { "split.no": 1, "split.count": 3 }, tensors: [] }, /part 2 of 3 of a model; give the first, .* -00001-of-00003\.gguf/],
  ["a key that reaches to the end of the file", greedyKey(), /case\.gguf: type of "general\.arch.{1,400}" passes the end of the file/],
  ["no metadata", { metadata: {}, tensors: [] }, /general\.architecture is nothing/],
  ["another architecture", smallGguf({ "general.architecture": "mamba" }), /general\.architecture is "mamba"/],
  ["a stray tensor", stray("rope_freqs.weight.old"), /"rope_freqs\.weight\.old" is no part of a llama model/],
  ["another one", stray("old.output.weight"), /"old\.output\.weight" is no part of a llama model/],
  ["an alignment of 0", smallGguf({ "general.alignment": 0 }), /general\.alignment/],
  ["an alignment of 2^21", smallGguf({ "general.alignment": 2 ** 21 }), /general\.alignment 2097152 is not a power of two/],
  ["an alignment that is text", smallGguf({ "general.alignment": "32" }), /general\.alignment/],
  ["an alignment that is a list of ten thousand", smallGguf({ "general.alignment": new Array<number>(10_000).fill(32) }), /general\.alignment \[32,.{1,60} is not a power of two/],
  ["an alignment of two lines", smallGguf({ "general.alignment": "a\nb" }), /general\.alignment "a\\nb" is not/],
  ["an alignment of 48", smallGguf({ "general.alignment": 48 }), /general\.alignment/],
  ["no layers", smallGguf({ "llama.block_count": 0 }), /block_count/],
  ["4 billion layers", smallGguf({ "llama.block_count": 0xffffffff }), /block_count/],
  ["heads that are text", smallGguf({ "llama.attention.head_count": "four" }), /head_count/],
  ["3 heads for 2 key heads", smallGguf({ "llama.attention.head_count": 3, "llama.attention.key_length": 8 }), /3 attention heads/],
  ["partial rotary", smallGguf({ "llama.rope.dimension_count": 4 }), /dimension_count/],
  ["experts", smallGguf({ "llama.expert_count": 8 }), /llama\.expert_count is 8, of which the family llama knows nothing/],
  ["unknown RoPE scaling", smallGguf({ "llama.rope.scaling.type": "longrope" }), /longrope/],
  ["an end token outside the vocabulary", smallGguf({ "tokenizer.ggml.eos_token_id": 258 }), /258/],
  [
    "a larger vocabulary than the tokenizer's model",
    smallGguf({
      "llama.vocab_size": 100,
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 1,
    }),
    /token_embd\.weight is \[258, 32\]/,
  ],
  ["an unknown tokenizer", smallGguf({ "tokenizer.ggml.model": "rwkv" }), /rwkv/],
  ["an unknown split", smallGguf({ "tokenizer.ggml.pre": "tomorrow" }), /tomorrow/],
  ["tokens that are numbers", smallGguf({ "tokenizer.ggml.tokens": [1, 2, 3], "llama.vocab_size": 258 }), /tokens\[0\]/],
  ["a token twice", smallGguf({ "tokenizer.ggml.tokens": new Array<string>(258).fill("a") }), /"a" is there twice/],
  [
    "a sentencepiece token of 257 characters",
    smallGguf({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": [...byteTokens, "<|end|>", "é".repeat(257)],
      "tokenizer.ggml.scores": Array.from({ length: 258 }, (_, i) => -i),
    }),
    /has more than 256 characters/,
  ],
  ["a merge that is no pair", smallGguf({ "tokenizer.ggml.merges": ["t h e"] }), /merges\[0\]/],
  ["a tensor missing", smallGguf({}, (tensors) => tensors.filter(({ name }) => name !== k)), /attn_k\.weight \[16, 32\] is missing/],
  ["a tensor twice", smallGguf({}, (tensors) => [...tensors, ...tensors.slice(-1)]), /ffn_down\.weight" is there twice/],
  ["a tensor too many", smallGguf({}, (tensors) => [...tensors, { ...element(tensors, 1), name: "blk.0.attn_q_norm.weight" }]), /attn_q_norm/],
  ["a transposed tensor", tensor(k, { dims: [16, 32] }), /attn_k\.weight is \[32, 16\]; .* \[16, 32\]/],
  ["an unknown type", tensor(k, { type: 99 }), /attn_k\.weight": stored as unknown type 99/],
  ["a type that is not read", tensor(k, { type: 34 }), /attn_k\.weight": stored as TQ1_0; templora reads .*Q6_K/],
  ["a K-quant whose rows are no whole blocks", tensor(k, { type: 14 }), /rows of 32 do not divide into blocks of 256/],
  ["five dimensions", tensor(k, { dims: [2, 2, 2, 2, 32] }), /5 dimensions/],
  ["no dimensions", tensor(k, { dims: [] }), /0 dimensions/],
  ["a dimension of 2^62", tensor(k, { dims: [1n << 62n, 16] }), /dimension of "blk\.0\.attn_k\.weight" is 4611686018427387904/],
  ["dimensions whose product wraps", tensor(k, { dims: [1n << 32n, 1n << 32n] }), /make no tensor/],
  ["a dimension of 0", tensor(k, { dims: [0, 16] }), /make no tensor/],
  ["rows that are no whole blocks", tensor(k, { type: 8, dims: [33, 16] }), /33 .* blocks of 32/],
  ["an offset past the end", tensor(k, { offset: 1n << 40n }), /pass the end of the file/],
  ["an offset of 2^64 - 32", tensor(k, { offset: (1n << 64n) - 32n }), /offset of/],
  ["an odd offset", tensor(k, { offset: 33 }), /not a multiple of 32/],
  ["overlapping tensors", tensor(k, { offset: 32 }), /overlap/],
];
for (const [what, spec, expected] of ggufCases) {
  test(`GGUF with ${what}`, () =>
    refused(
      () => openModelFiles(write("case.gguf", spec instanceof Uint8Array ? spec : ggufBytes(spec))),
      expected,
    ));
}

// The names of ggml.h, as the Python package gguf 0.19.0 lists them.
// prettier-ignore
const ggmlTypes: readonly [number, string][] = [
  [0, "F32"], [1, "F16"], [2, "Q4_0"], [3, "Q4_1"], [6, "Q5_0"], [7, "Q5_1"], [8, "Q8_0"], [9, "Q8_1"], [10, "Q2_K"], [11, "Q3_K"],
  [12, "Q4_K"], [13, "Q5_K"], [14, "Q6_K"], [15, "Q8_K"], [16, "IQ2_XXS"], [17, "IQ2_XS"], [18, "IQ3_XXS"], [19, "IQ1_S"],
  [20, "IQ4_NL"], [21, "IQ3_S"], [22, "IQ2_S"], [23, "IQ4_XS"], [24, "I8"], [25, "I16"], [26, "I32"], [27, "I64"], [28, "F64"],
  [29, "IQ1_M"], [30, "BF16"], [34, "TQ1_0"], [35, "TQ2_0"], [39, "MXFP4"],
];
test("GGUF with tensors of every type of ggml: read as that type, or refused by its name", () => {
  for (const [type, typeName] of ggmlTypes) {
    const whole = ggufBytes(tensor(k, { type, dims: [256, 1], data: new Uint8Array(1024) }));
    let found: string | undefined;
    try {
      found = atOnce(parseGguf(whole, whole.length, "type.gguf"))?.tensors.find(
        ({ name }) => name === k,
      )?.dtype;
    } catch (error) {
      found = /: stored as (\w+);/.exec((error as Error).message)?.[1];
    }
    assert.is(found?.toUpperCase(), typeName);
  }
});

test("GGUF with an index that is longer than the first look at it", async () => {
  const spec = smallGguf({ "general.description": "x".repeat(1e7), "general.url": "y".repeat(1e7) });
  await using modelFiles = await openModelFiles(write("long.gguf", ggufBytes(spec)));
  assert.is(modelFiles.config.hidden_size, 32);
});

test("GGUF with a string of 2^60 bytes, a list of 2^60 strings, lists in lists", async () => {
  const whole = Buffer.from(ggufBytes(smallGguf()));
  const patch = (what: string, offset: number, value: bigint): Uint8Array => {
    const bytes = Buffer.from(whole);
    bytes.writeBigUInt64LE(value, bytes.indexOf(what) + what.length + offset);
    return bytes;
  };
  const open = (bytes: Uint8Array) => (): Promise<unknown> => openModelFiles(write("case.gguf", bytes));
  await refused(open(patch("general.architecture", 4, 1n << 60n)), /length of "general\.architecture"/);
  await refused(open(patch("tokenizer.ggml.tokens", 8, 1n << 60n)), /length of "tokenizer\.ggml\.tokens"/);
  // a list of lists of lists …, each twelve bytes
  const deep = Buffer.from(whole);
  const start = deep.indexOf("tokenizer.ggml.tokens") + "tokenizer.ggml.tokens".length + 4;
  for (let i = 0; i < 6; i++) {
    deep.writeUInt32LE(9, start + 12 * i);
    deep.writeBigUInt64LE(1n, start + 12 * i + 4);
  }
  await refused(open(deep), /nests lists too deeply/);
});

test("GGUF cut off anywhere", () => {
  const whole = ggufBytes(smallGguf());
  for (let length = 0; length < whole.length; length += length < 6000 ? 41 : 997) {
    const cut = whole.subarray(0, length);
    assert.throws(
      () => atOnce(parseGguf(cut, cut.length, "cut.gguf")),
      (error: unknown) => error instanceof BadInputError,
    );
  }
  assert.is(
    atOnce(parseGguf(whole.subarray(0, 1000), whole.length, "more.gguf")),
    undefined,
    "asks for more of the file",
  );
});

const entry = { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] };
// prettier-ignore
const safetensorsCases: readonly [string, Uint8Array, RegExp][] = [
  ["nothing", new Uint8Array(), /too few/],
  ["a length alone", new Uint8Array(8), /not valid JSON/],
  ["its header's first byte missing", safetensorsBytes({}, 0, 3n), /claims a header of 3 bytes in a file of 10/],
  ["a header of 2^60 bytes", safetensorsBytes({ a: entry }, 16, 1n << 60n), /header of 1152921504606846976 bytes/],
  ["a header longer than the file", safetensorsBytes({ a: entry }, 16, 10_000n), /header of 10000 bytes/],
  ["a header that is cut off", safetensorsBytes({ a: entry }, 16, 20n), /not valid JSON/],
  ["a header that is a list", safetensorsBytes("[]", 0), /expected a JSON object/],
  ["a header nested 100,000 deep", safetensorsBytes("[".repeat(100_000), 0), /not valid JSON/],
  ["an unknown dtype", safetensorsBytes({ a: { ...entry, dtype: "F4" } }, 16), /"a": dtype "F4"/],
  ["a dtype of the prototype", safetensorsBytes({ a: { ...entry, dtype: "constructor" } }, 16), /"constructor"/],
  ["an integer tensor", safetensorsBytes({ a: { ...entry, dtype: "I32" } }, 16), /"a": dtype "I32"/],
  ["a shape that is text", safetensorsBytes({ a: { ...entry, shape: "2" } }, 16), /shape/],
  ["a negative dimension", safetensorsBytes({ a: { ...entry, shape: [-2, -2] } }, 16), /shape\[0\]/],
  ["a fractional dimension", safetensorsBytes({ a: { ...entry, shape: [0.5, 8] } }, 16), /shape\[0\]/],
  ["a shape whose product wraps", safetensorsBytes({ a: { ...entry, shape: [2 ** 32, 2 ** 32, 4] } }, 16), /takes 295147905179352825856 bytes/],
  ["a shape that the offsets belie", safetensorsBytes({ a: { ...entry, shape: [2, 3] } }, 16), /takes 24 bytes, its offsets span 16/],
  ["offsets past the end", safetensorsBytes({ a: { ...entry, data_offsets: [0, 32] } }, 16), /data_offsets\[1\]/],
  ["offsets in reverse", safetensorsBytes({ a: { ...entry, data_offsets: [16, 0] } }, 16), /data_offsets\[1\]/],
  ["offsets of 1e300", safetensorsBytes({ a: { ...entry, data_offsets: [0, 1e300] } }, 16), /data_offsets\[1\]/],
  ["three offsets", safetensorsBytes({ a: { ...entry, data_offsets: [0, 16, 16] } }, 16), /data_offsets/],
  ["overlapping tensors", safetensorsBytes({ a: entry, b: { ...entry, data_offsets: [8, 24] } }, 24), /"b" overlaps/],
  ["a hole", safetensorsBytes({ a: entry, b: { ...entry, data_offsets: [20, 36] } }, 36), /"b" leaves a hole/],
  ["bytes behind the tensors", safetensorsBytes({ a: entry }, 20), /cut off/],
  ["a name that steers a terminal", safetensorsBytes({ "a\u009b2J\u007f": { ...entry, dtype: "F4" } }, 16), /tensor "a\\u009b2J\\u007f": dtype "F4"/],
  ["a key that does, inside a value", safetensorsBytes({ a: [{ "\u0085": "\u0090" }] }, 16), /expected a JSON object, got \[\{"\\u0085":"\\u0090"\}\]/],
  ["a tensor listed twice", safetensorsBytes(`{"a":${JSON.stringify(entry)},"\\u0061":${JSON.stringify(entry)}}`, 16), /"a" is listed twice/],
  ["tensors of no model", safetensorsBytes({ a: entry }, 16), /embed_tokens\.weight \[288, 48\] is missing/],
];
const tinyFolder = (name: string): string => {
  cpSync(fileURLToPath(new URL("tiny-tied", goldenFolder)), at(name), { recursive: true });
  return at(name);
};
const target = tinyFolder("safetensors-cases");
for (const [what, bytes, expected] of safetensorsCases) {
  test(`safetensors with ${what}`, async () => {
    writeFileSync(join(target, "model.safetensors"), bytes);
    await refused(() => openModelFiles(target), expected);
  });
}

const edit = (
  folderName: string,
  file: string,
  change: (json: Record<string, unknown>) => unknown,
): string => {
  const path = join(tinyFolder(folderName), file);
  writeFileSync(
    path,
    JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>)),
  );
  return at(folderName);
};
const config = (change: object): string =>
  edit("config-cases", "config.json", (json) => ({ ...json, ...change }));
// prettier-ignore
const folderCases: readonly [string, () => string, RegExp][] = [
  ["nothing there", () => at("nowhere"), /no such file or folder.*smollm2-135m/],
  ["an empty folder", () => (mkdirSync(at("empty"), { recursive: true }), at("empty")), /neither model\.safetensors nor/],
  ["no config.json", () => (rmSync(join(tinyFolder("no-config"), "config.json")), at("no-config")), /config\.json: no such file/],
  ["no tokenizer.json", () => (rmSync(join(tinyFolder("no-tok"), "tokenizer.json")), at("no-tok")), /tokenizer\.json: no such file/],
  ["a config.json that is no JSON", () => (writeFileSync(join(tinyFolder("bad"), "config.json"), "{,"), at("bad")), /config\.json: not valid JSON/],
  ["a config.json that nests deeply", () => (writeFileSync(join(tinyFolder("deep"), "config.json"), "[".repeat(2 ** 22)), at("deep")), /config\.json: it nests lists or objects too deeply/],
  ["a value that nests deeply", () => (writeFileSync(join(tinyFolder("deep"), "config.json"), `{"model_type":${"[".repeat(20_000)}${"]".repeat(20_000)}}`), at("deep")), /model_type is \[{57}\.\.\./],
  ["another model type", () => config({ model_type: "mamba" }), /model_type is "mamba"/],
  ["another activation", () => config({ hidden_act: "gelu" }), /hidden_act is "gelu"/],
  ["attention biases that are not there", () => config({ attention_bias: true }), /0\.self_attn\.q_proj\.bias \[48\] is missing/],
  ["MLP biases that are not there", () => config({ mlp_bias: true }), /0\.mlp\.gate_proj\.bias \[96\] is missing/],
  ["unknown RoPE", () => config({ rope_scaling: { rope_type: "dynamic", factor: 2 } }), /"dynamic" is not supported/],
  ["RoPE without its factor", () => config({ rope_scaling: { type: "linear" } }), /rope_scaling\.factor/],
  ["an odd head", () => config({ head_dim: 13 }), /head_dim 13 is odd/],
  ["a width of 0", () => config({ hidden_size: 0 }), /hidden_size/],
  ["10^9 layers", () => config({ num_hidden_layers: 1e9 }), /num_hidden_layers/],
  ["a NaN in disguise", () => config({ rms_norm_eps: "NaN" }), /rms_norm_eps/],
  ["a wider MLP than stored", () => config({ intermediate_size: 97 }), /gate_proj\.weight is \[96, 48\]; .* \[97, 48\]/],
  ["fewer tokens than the tokenizer", () => config({ vocab_size: 287 }), /the tokenizer has 288 tokens, the model only 287/],
  [
    "a token id of 10^15",
    () =>
      edit("ids", "tokenizer.json", (json) => ({
        ...json,
        model: { type: "BPE", vocab: { a: 1e15 }, merges: [] },
      })),
    /id of "a"/,
  ],
  [
    "an id for two tokens",
    () =>
      edit("two", "tokenizer.json", (json) => ({
        ...json,
        model: { type: "BPE", vocab: { a: 1, b: 1 }, merges: [] },
      })),
    /belongs to both/,
  ],
  ["a unigram tokenizer", () => edit("uni", "tokenizer.json", (json) => ({ ...json, model: { type: "Unigram", vocab: [] } })), /"Unigram"/],
  [
    "a split of another kind",
    () =>
      edit("split", "tokenizer.json", (json) => ({
        ...json,
        pre_tokenizer: { type: "Split", behavior: "MergedWithNext", pattern: {} },
      })),
    /MergedWithNext/,
  ],
  [
    "a split by a pattern that is not known",
    () =>
      edit("re", "tokenizer.json", (json) => ({
        ...json,
        pre_tokenizer: { type: "Split", behavior: "Isolated", pattern: { Regex: "(" } },
      })),
    /pre_tokenizer: "\(" of the pattern is none that templora knows/,
  ],
];
for (const [what, make, expected] of folderCases) {
  test(`folder with ${what}`, () => refused(() => openModelFiles(make()), expected));
}

for (const shard of [
  "../model.safetensors",
  "/etc/passwd",
  "a/b.safetensors",
  "..",
  ".safetensors",
  "x.safetensors\0",
  `${"x".repeat(3000)}.safetensors`,
  3,
]) {
  test(`index that names the shard ${JSON.stringify(shard).slice(0, 40)}`, async () => {
    const path = tinyFolder("shards");
    rmSync(join(path, "model.safetensors"));
    const index = { weight_map: { "model.norm.weight": shard } };
    writeFileSync(join(path, "model.safetensors.index.json"), JSON.stringify(index));
    await refused(() => openModelFiles(path), /"model\.norm\.weight": /);
  });
}

test("parts that say how many tensors there are in a list of ten thousand numbers", async () => {
  const total = { "split.tensors.count": new Array<number>(10_000).fill(7) };
  const first = smallGguf({ "split.no": 0, "split.count": 2, ...total });
  write(
    "list-00002-of-00002.gguf",
    ggufBytes({ metadata: { "split.no": 1, "split.count": 2 }, tensors: [] }),
  );
  const path = write("list-00001-of-00002.gguf", ggufBytes(first));
  await refused(() => openModelFiles(path), /2 parts with 11 tensors, of \[7,.{1,60}$/);
});

test("index that lies about where a tensor is, and shards that both have it", async () => {
  const path = tinyFolder("shards-2");
  cpSync(join(path, "model.safetensors"), join(path, "one.safetensors"));
  rmSync(join(path, "model.safetensors"));
  writeFileSync(join(path, "two.safetensors"), safetensorsBytes({ "model.norm.weight": entry }, 16));
  const index = (weight_map: object): void =>
    writeFileSync(join(path, "model.safetensors.index.json"), JSON.stringify({ weight_map }));
  index({ "model.norm.weight": "one.safetensors", "lm_head.weight": "one.safetensors" });
  await refused(() => openModelFiles(path), /"lm_head\.weight" is not in one\.safetensors/);
  index({ "model.norm.weight": "one.safetensors", other: "two.safetensors" });
  await refused(() => openModelFiles(path), /"model\.norm\.weight" is also in/);
});

test("any bytes changed: a model or a BadInputError, in bounded memory", async () => {
  const before = process.resourceUsage().maxRSS;
  const change = fc.array(fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 127, 128, 255))), {
    minLength: 1,
    maxLength: 6,
  });
  const changed = (
    bytes: Uint8Array,
    edits: readonly (readonly [number, number])[],
    within: number,
  ): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    for (const [where, value] of edits) copy[where % within] = value;
    return copy;
  };
  const survives = (run: () => unknown): void => {
    try {
      run();
    } catch (error) {
      if (!(error instanceof BadInputError)) throw error;
      assert.not.match(error.message, "\n");
      assert.ok(error.message.length < 1000, "an error as long as the file");
    }
  };
  const gguf = ggufBytes(smallGguf());
  const index = gguf.length - parsedBytes(gguf);
  fc.assert(
    fc.property(change, (edits) =>
      survives(() => {
        const parsed = atOnce(parseGguf(changed(gguf, edits, index), gguf.length, "x.gguf"));
        if (!parsed) throw new Error("asked for more than there is");
        const ids = describeGguf(parsed.metadata, { has: () => false }, "x.gguf").config;
        const tokenizer = atOnce(
          tokenizerFromGguf(
            parsed.metadata,
            { bosId: ids.bos_token_id, eosIds: ids.eos_token_ids },
            "x.gguf",
          ),
        );
        tokenizer.decode(tokenizer.encode("the whale, 1851"));
      }),
    ),
    { numRuns: 1000 },
  );
  const golden = new URL("tiny-tied/", goldenFolder);
  const safetensors = readFileSync(new URL("model.safetensors", golden));
  const header = Uint8Array.from(safetensors.subarray(8, 8 + Number(safetensors.readBigUInt64LE(0))));
  fc.assert(
    fc.property(change, (edits) =>
      survives(() => parseSafetensorsHeader(changed(header, edits, header.length), safetensors.length, "x")),
    ),
    { numRuns: 500 },
  );
  const json = new TextEncoder().encode(readFileSync(new URL("config.json", golden), "utf8"));
  fc.assert(
    fc.property(change, (edits) => {
      let parsed: unknown;
      try {
        parsed = JSON.parse(new TextDecoder().decode(changed(json, edits, json.length)));
      } catch {
        return;
      }
      survives(() => describeFolder(parsed));
    }),
    { numRuns: 500 },
  );
  const grown = (process.resourceUsage().maxRSS - before) / 1024;
  assert.ok(grown < 512, `${grown.toFixed(0)} MiB more than before`);
});

/** Bytes of tensor data in a file of ours. */
function parsedBytes(gguf: Uint8Array): number {
  const parsed = atOnce(parseGguf(gguf, gguf.length, "whole"));
  return gguf.length - Math.min(...(parsed?.tensors ?? []).map(({ start }) => start));
}

test("whole files through openModelFiles, bytes changed", async () => {
  const whole = ggufBytes(smallGguf());
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), async (where, value) => {
      const bytes = Uint8Array.from(whole);
      bytes[where] = value;
      try {
        await (await openModelFiles(write("flip.gguf", bytes))).close();
      } catch (error) {
        assert.instance(error, BadInputError, String(error));
      }
    }),
    { numRuns: 100 },
  );
});

test("texts: missing, a folder, empty, not UTF-8; a byte order mark is removed", async () => {
  await refused(() => readText(at("missing.txt")), /missing\.txt: no such file/);
  await refused(() => readText(folder), /this is a folder/);
  await refused(() => readText(write("empty.txt", "")), /empty/);
  await refused(() => readText(write("blank.txt", " \n\ufeff")), /empty/);
  const bad: readonly [readonly number[], number][] = [
    [[0x61, 0xff, 0x62], 1],
    [[0xe9], 0],
    [[0xef, 0xbb, 0xbf, 0x61, 0xc3], 4],
    [[0x61, 0xef, 0xbf, 0x61], 1],
    [[0xef, 0xbf, 0xbd, 0xef, 0x61], 3],
    [[0xef, 0xbf, 0xbd, 0xef, 0xbf], 3],
    [[0xf0, 0x9f, 0x90], 0],
    [[0x61, 0xed, 0xa0, 0x80], 1],
    [[0xc3, 0xa9, 0xc0, 0x80], 2],
  ];
  for (const [bytes, offset] of bad)
    await refused(() => readText(write("bad.txt", Uint8Array.from(bytes))), new RegExp(`offset ${offset};`));
  assert.is(await readText(write("good.txt", "\ufeffé\ufeff\n")), "é\ufeff\n");
});

test.run();
