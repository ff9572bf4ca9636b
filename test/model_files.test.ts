/** Model files that are as they should be: both formats give the same model, and RoPE's tables are transformers'. */
import { at } from "../kernels/base/at.ts";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { rejects } from "node:assert/strict";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gguf as secondOpinion } from "@huggingface/gguf";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { type ModelFiles, openModelFiles } from "../model/model_files.ts";
import { describeFolder, describeGguf } from "../model/families/index.ts";
import { InputFile } from "../model/file.ts";
import { readGgufIndex } from "../model/gguf.ts";
import { type RopeScaling, ropeFrequencies, ropeTable } from "../model/rope.ts";
import { goldenFolder } from "./support/golden.ts";
import {
  type GgufSpec,
  ggufBytes,
  interleaveRows,
  smallGguf,
  temporaryFolder,
} from "./support/model_files.ts";
import { unless } from "./support/skip.ts";

const golden = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
const smollm2 = join(cacheFolder(), "smollm2-135m.gguf");
const withSmolLM2 = unless(existsSync(smollm2) ? undefined : "templora pull smollm2-135m was not run", test);
const folder = temporaryFolder();

function writeGguf(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

test("a Hugging Face folder: configuration, names, shapes, bytes", async () => {
  const modelFiles = await openModelFiles(golden("tiny-untied"));
  const { config, tensors } = modelFiles;
  assert.is(config.head_dim, 16);
  assert.is(config.layers[0]?.rope?.rope_theta, 100000, "rope_theta inside rope_parameters");
  assert.equal([config.bos_token_id, config.eos_token_ids], [0, [1]]);
  assert.is(tensors.size, 3 + 9 * config.num_hidden_layers);
  const name = "model.layers.2.self_attn.k_proj.weight";
  const { dtype, shape, bytes } = { ...tensors.get(name) };
  assert.equal({ dtype, shape, bytes }, { dtype: "f32", shape: [32, 48], bytes: 4 * 32 * 48 });
  assert.is((await modelFiles.read("lm_head.weight")).byteLength, 4 * 277 * 48);
  await modelFiles.close();
  await modelFiles.close();
  let error: unknown;
  await modelFiles.read("lm_head.weight").catch((e: unknown) => (error = e));
  assert.match(String(error), "closed");
});

test("shards hold the same tensors as one file; bf16 half the bytes; tied models have no lm_head", async () => {
  const open = (name: string): Promise<ModelFiles> => openModelFiles(golden(name));
  const [one, shards] = [await open("tiny-untied"), await open("tiny-untied-sharded")];
  const [half, tied] = [await open("tiny-untied-bf16"), await open("tiny-tied")];
  assert.equal([...shards.tensors.keys()], [...one.tensors.keys()]);
  for (const [name, entry] of one.tensors) {
    assert.equal(Buffer.from(await shards.read(name)), Buffer.from(await one.read(name)), name);
    assert.is(half.tensors.get(name)?.dtype, "bf16");
    assert.is(half.tensors.get(name)?.bytes, entry.bytes / 2);
  }
  assert.not(tied.tensors.has("lm_head.weight"));
  await Promise.all([one, shards, half, tied].map((modelFiles) => modelFiles.close()));
});

test("RoPE's frequencies in a file, of any dtype and for each layer, are dropped as transformers does", async () => {
  const path = join(folder, "frequencies");
  cpSync(golden("tiny-tied"), path, { recursive: true });
  const file = readFileSync(join(path, "model.safetensors"));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, start)) as Record<string, object>;
  let end = file.length - start;
  const add = (name: string, dtype: string, bytes: number): void => {
    header[name] = { dtype, shape: [6], data_offsets: [end, end + 6 * bytes] };
    end += 6 * bytes;
  };
  add("model.rotary_emb.inv_freq", "F32", 4);
  for (const layer of [0, 1, 2]) add(`model.layers.${layer}.self_attn.rotary_emb.inv_freq`, "F64", 8);
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const data = file.subarray(start);
  writeFileSync(
    join(path, "model.safetensors"),
    Buffer.concat([length, json, data, Buffer.alloc(end - data.length)]),
  );
  await using plain = await openModelFiles(golden("tiny-tied"));
  await using more = await openModelFiles(path);
  assert.equal([...more.tensors.keys()], [...plain.tensors.keys()]);
  const name = "model.layers.2.mlp.down_proj.weight";
  assert.equal(await more.read(name), await plain.read(name));
});

test("a GGUF file made of a Hugging Face folder is the same model again", async () => {
  const original = await openModelFiles(golden("tiny-untied"));
  const { config } = original;
  const names: Readonly<Record<string, string>> = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    lm_head: "output",
    input_layernorm: "attn_norm",
    post_attention_layernorm: "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  };
  const tensors = [];
  for (const [name, { shape }] of original.tensors) {
    const [, layer, rest] = /^(?:model\.layers\.(\d+)\.)?(.*)\.weight$/.exec(name) ?? [];
    let data: Uint8Array = await original.read(name);
    if (rest === "self_attn.q_proj") data = interleaveRows(data, config.num_attention_heads, at(shape, 0));
    if (rest === "self_attn.k_proj") data = interleaveRows(data, config.num_key_value_heads, at(shape, 0));
    const ggufName = `${layer === undefined ? "" : `blk.${layer}.`}${names[rest ?? ""]}.weight`;
    tensors.push({ name: ggufName, type: 0, dims: shape.toReversed(), data });
  }
  const path = writeGguf(
    "tiny-untied.gguf",
    ggufBytes({
      metadata: {
        ...smallGguf().metadata,
        "llama.vocab_size": config.vocab_size,
        "llama.block_count": config.num_hidden_layers,
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.value_length": config.head_dim,
        "llama.rope.dimension_count": config.head_dim,
        "llama.rope.freq_base": 100000,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
      },
      tensors,
    }),
  );
  const copy = await openModelFiles(path);
  assert.equal(copy.config, { ...config, rms_norm_eps: Math.fround(config.rms_norm_eps) });
  assert.equal([...copy.tensors.keys()], [...original.tensors.keys()]);
  for (const [name, { shape, dtype }] of original.tensors) {
    assert.equal([copy.tensors.get(name)?.shape, copy.tensors.get(name)?.dtype], [shape, dtype], name);
    assert.equal(Buffer.from(await copy.read(name)), Buffer.from(await original.read(name)), name);
  }
  await Promise.all([copy.close(), original.close()]);
});

test("block formats: whole rows of blocks move back into half-split order", async () => {
  const spec = smallGguf();
  const modelFiles = await openModelFiles(writeGguf("blocks.gguf", ggufBytes(spec)));
  const name = "model.layers.0.self_attn.q_proj.weight";
  assert.is(modelFiles.tensors.get(name)?.dtype, "q8_0");
  const stored =
    spec.tensors.find((tensor) => tensor.name === "blk.0.attn_q.weight")?.data ?? new Uint8Array();
  const read = await modelFiles.read(name);
  const row = (bytes: Uint8Array, i: number): Buffer => Buffer.from(bytes.subarray(34 * i, 34 * (i + 1)));
  // four heads of eight rows; in a head, file rows 0 2 4 6 1 3 5 7
  [0, 2, 4, 6, 1, 3, 5, 7].forEach((from, i) => {
    for (const head of [0, 3]) assert.equal(row(read, 8 * head + i), row(stored, 8 * head + from));
  });
  const gate = await modelFiles.read("model.layers.0.mlp.gate_proj.weight");
  const storedGate = spec.tensors.find((tensor) => tensor.name === "blk.0.ffn_gate.weight")?.data ?? [];
  assert.equal(Buffer.from(gate), Buffer.from(storedGate));
  await modelFiles.close();
});

test("a large tensor comes in parts, whose heads move back one by one", async () => {
  const [D, heads, head_dim] = [32, 40, 2048];
  const rows = heads * head_dim;
  const row = (i: number): number[] => new Array<number>(D).fill(i);
  const large = Float32Array.from(Array.from({ length: rows }, (_, i) => row(i)).flat());
  const names: Readonly<Record<string, readonly number[]>> = {
    "blk.0.attn_q.weight": [D, rows],
    "blk.0.attn_output.weight": [rows, D],
    "blk.0.attn_k.weight": [D, 2 * head_dim],
    "blk.0.attn_v.weight": [D, 2 * head_dim],
  };
  const spec = smallGguf(
    {
      "llama.attention.head_count": heads,
      "llama.attention.key_length": head_dim,
      "llama.attention.value_length": head_dim,
    },
    (tensors) =>
      tensors.map((tensor) => {
        const dims = names[tensor.name];
        const count = dims?.reduce((n, d) => n * d, 1);
        return dims
          ? { ...tensor, type: 0, dims, data: new Uint8Array(large.buffer, 0, 4 * (count ?? 0)) }
          : tensor;
      }),
  );
  await using modelFiles = await openModelFiles(writeGguf("large.gguf", ggufBytes(spec)));
  const name = "model.layers.0.self_attn.q_proj.weight";
  let [done, parts] = [0, 0];
  for await (const part of modelFiles.parts(name)) {
    assert.is(part.length % (D * 4 * head_dim), 0, "whole heads");
    const values = new Float32Array(part.buffer);
    for (let i = 0; i < values.length / D; i++) {
      const inHead = (done + i) % head_dim;
      const from = done + i - inHead + 2 * (inHead % (head_dim / 2)) + (inHead < head_dim / 2 ? 0 : 1);
      assert.is(values[i * D], from, `row ${done + i}`);
    }
    done += values.length / D;
    parts++;
  }
  assert.equal([done, parts > 1], [rows, true]);
  const output = await modelFiles.read("model.layers.0.self_attn.o_proj.weight");
  assert.ok(Buffer.from(output).equals(Buffer.from(large.buffer)));
});

test("a model in three files is the model in one", async () => {
  const spec = smallGguf();
  const whole = await openModelFiles(writeGguf("whole.gguf", ggufBytes(spec)));
  const name = (part: number): string => join(folder, `three-0000${part}-of-00003.gguf`);
  const write = (part: number, metadata: GgufSpec["metadata"], tensors: GgufSpec["tensors"]): void =>
    void writeGguf(basename(name(part)), ggufBytes({ metadata, tensors }));
  const all = { "split.count": 3, "split.tensors.count": spec.tensors.length };
  write(1, { ...spec.metadata, ...all, "split.no": 0 }, []);
  write(2, { ...all, "split.no": 1 }, spec.tensors.slice(0, 4));
  await rejects(openModelFiles(name(1)), /three-00003-of-00003\.gguf: no such file/);
  write(3, { ...all, "split.no": 1 }, spec.tensors.slice(4));
  await rejects(openModelFiles(name(1)), /00003-of-00003\.gguf: part 2 of 3, where part 3 of 3 is expected/);
  write(3, { ...all, "split.no": 2 }, spec.tensors.slice(3));
  await rejects(openModelFiles(name(1)), /"blk\.0\.attn_q\.weight" is also in .*00002-of-00003/);
  write(3, { ...all, "split.no": 2 }, spec.tensors.slice(5));
  await rejects(openModelFiles(name(1)), /3 parts with 10 tensors, of 11/);
  write(3, { ...all, "split.no": 2 }, spec.tensors.slice(4));
  const parts = await openModelFiles(name(1));
  assert.equal([...parts.tensors.keys()], [...whole.tensors.keys()]);
  for (const tensor of whole.tensors.keys())
    assert.equal(Buffer.from(await parts.read(tensor)), Buffer.from(await whole.read(tensor)), tensor);
  assert.equal(parts.paths, [1, 2, 3].map(name));
  await Promise.all([whole, parts].map((modelFiles) => modelFiles.close()));
});

async function compareWithSecondOpinion(path: string): Promise<void> {
  const file = await InputFile.open(path);
  const ours = await readGgufIndex(file);
  await file.close();
  const theirs = await secondOpinion(path, { allowLocalFile: true });
  const metadata = new Map<string, unknown>(Object.entries(theirs.metadata));
  for (const [key, value] of ours.metadata) assert.equal(value, metadata.get(key), key);
  assert.is(ours.metadata.size, metadata.size - 3); // version and two counts
  assert.equal(
    ours.tensors.map(({ name, dims, start }) => ({ name, dims, start })),
    theirs.tensorInfos.map(({ name, shape, offset }) => ({
      name,
      dims: shape.map(Number),
      start: Number(theirs.tensorDataOffset + offset),
    })),
  );
}

test("our GGUF parser and @huggingface/gguf agree on a small file", () =>
  compareWithSecondOpinion(writeGguf("small.gguf", ggufBytes(smallGguf()))));

withSmolLM2("our GGUF parser and @huggingface/gguf agree on SmolLM2", () =>
  compareWithSecondOpinion(smollm2),
);

withSmolLM2("SmolLM2 by its name", async () => {
  const modelFiles = await openModelFiles("smollm2-135m");
  assert.is(modelFiles.source, smollm2);
  assert.equal([...new Set([...modelFiles.tensors.values()].map(({ dtype }) => dtype))].sort(), [
    "f32",
    "q4_1",
    "q8_0",
  ]);
  assert.ok(modelFiles.config.tie_word_embeddings);
  await modelFiles.close();
});

const llama = {
  model_type: "llama",
  vocab_size: 10,
  hidden_size: 16,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 1,
  max_position_embeddings: 2048,
};
const scaling = (rope_scaling: object | null): RopeScaling | null =>
  describeFolder({ ...llama, rope_scaling }).config.layers[0]?.rope?.rope_scaling ?? null;

// inv_freq of transformers' modeling_rope_utils.py, its formulas carried out in float64 with numpy
// prettier-ignore
const frequencies: readonly [string, number, RopeScaling | null, readonly number[]][] = [
  ["none", 1e4, null, [1, 0.31622776601683794, 0.1, 0.03162277660168379, 0.01, 0.00316227766016838, 0.001, 0.00031622776601683794]],
  ["linear", 1e4, scaling({ type: "linear", factor: 2 }), [0.5, 0.15811388300841897, 0.05, 0.015811388300841896, 0.005, 0.00158113883008419, 0.0005, 0.00015811388300841897]],
  [
    "llama3",
    5e5,
    scaling({
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    }),
    [1, 0.19392274474868576, 0.03760603093086393, 0.0072926647372171085, 0.0005248461609929547, 3.428102195952591e-5, 6.647869871181236e-6, 1.2891731721515574e-6],
  ],
  ["yarn", 1e4, scaling({ rope_type: "yarn", factor: 4, original_max_position_embeddings: 2048 }), [1, 0.31622776601683794, 0.1, 0.02569350598886808, 0.00625, 0.0013834964763236662, 0.00025, 7.905694150420948e-5]],
];
for (const [name, rope_theta, rope_scaling, expected] of frequencies) {
  test(`RoPE frequencies, scaling ${name}: to 1e-14 of transformers' formulas`, () => {
    const got = ropeFrequencies({ head_dim: 16, rope_theta, rope_scaling });
    expected.forEach((value, i) =>
      assert.ok(Math.abs(at(got, i) / value - 1) < 1e-14, `${i}: ${got[i]} ${value}`),
    );
  });
}

test("RoPE tables: cosines, then sines of each position, YaRN's scaled", () => {
  const config = { head_dim: 16, rope_theta: 1e4, rope_scaling: null };
  const table = ropeTable(config, 8);
  assert.is(table.length, 8 * 16);
  assert.is(table[7 * 16 + 1], Math.fround(Math.cos(7 * 1e4 ** (-2 / 16))));
  assert.is(table[7 * 16 + 9], Math.fround(Math.sin(7 * 1e4 ** (-2 / 16))));
  assert.equal([...table.subarray(8, 16)], new Array(8).fill(0));
  const yarn = ropeTable({ ...config, rope_scaling: scaling({ rope_type: "yarn", factor: 4 }) }, 1);
  assert.is(yarn[0], Math.fround(1.138629436111989)); // 0.1 ln 4 + 1
});

test("RoPE's divisors are read from the tensor rope_freqs.weight, if it is a short one of F32", async () => {
  const open = async (type: number, data: Uint8Array, count: number): Promise<ModelFiles> => {
    const tensor = { name: "rope_freqs.weight", type, dims: [count], data };
    return openModelFiles(
      writeGguf("rope.gguf", ggufBytes(smallGguf({}, (tensors) => [...tensors, tensor]))),
    );
  };
  const divisors = [1, 1.5, 4, 8];
  await using modelFiles = await open(0, new Uint8Array(Float32Array.from(divisors).buffer), 4);
  assert.equal(modelFiles.config.layers[0]?.rope?.rope_scaling, { type: "divisors", divisors });
  for (const [type, bytes, count] of [
    [1, 8, 4],
    [0, 2 ** 16 + 4, 2 ** 14 + 1],
  ] as const)
    await open(type, new Uint8Array(bytes), count).then(
      () => assert.unreachable(),
      (error: unknown) => assert.match(String(error), /rope_freqs\.weight must be a short F32 tensor/),
    );
});

test("RoPE in GGUF: linear, yarn, and divisors from rope_freqs.weight", () => {
  const of = (extra: Readonly<Record<string, number | string>>, divisors?: number[]): RopeScaling | null =>
    describeGguf(new Map(Object.entries({ ...smallGguf().metadata, ...extra })), {
      has: () => false,
      ...(divisors && { rope: { divisors } }),
    }).config.layers[0]?.rope?.rope_scaling ?? null;
  assert.is(of({}), null);
  assert.equal(of({ "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4 }), {
    type: "linear",
    factor: 4,
  });
  for (const key of ["llama.rope.scaling.factor", "llama.rope.scale_linear"])
    assert.equal(of({ [key]: 4 }), { type: "linear", factor: 4 }, `${key} alone, as llama.cpp reads it`);
  const yarn = of({
    "llama.rope.scaling.type": "yarn",
    "llama.rope.scaling.factor": 4,
    "llama.rope.scaling.original_context_length": 16,
  });
  assert.equal(yarn, scaling({ rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 }));
  const divided = of({}, [1, 1, 2, 8]);
  const halved = ropeFrequencies({ head_dim: 8, rope_theta: 1e4, rope_scaling: divided });
  assert.equal(
    [...halved],
    [1, 0.1, 0.01 / 2, 0.001 / 8].map((_, i) => 1e4 ** (-i / 4) / at([1, 1, 2, 8], i)),
  );
});

test.run();
