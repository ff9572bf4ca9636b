/** Writes small model files, right or wrong on purpose: GGUF and safetensors from plain descriptions. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type MetadataValue = number | boolean | string | readonly string[] | readonly number[];

export interface TensorSpec {
  readonly name: string;
  /** ggml's type number */
  readonly type: number;
  /** innermost first */
  readonly dims: readonly (number | bigint)[];
  readonly data: Uint8Array;
  /** instead of the next free one */
  readonly offset?: number | bigint;
}

export interface GgufSpec {
  readonly metadata: Readonly<Record<string, MetadataValue>>;
  readonly tensors: readonly TensorSpec[];
  readonly version?: number;
  /** instead of the true ones */
  readonly tensorCount?: bigint;
  readonly keyCount?: bigint;
}

class Bytes {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  add(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    this.length += bytes.byteLength;
    return this;
  }
  #number(size: number, set: (view: DataView) => void): this {
    const view = new DataView(new ArrayBuffer(size));
    set(view);
    return this.add(new Uint8Array(view.buffer));
  }
  u32(value: number): this {
    return this.#number(4, (view) => view.setUint32(0, value, true));
  }
  u64(value: number | bigint): this {
    return this.#number(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }
  f32(value: number): this {
    return this.#number(4, (view) => view.setFloat32(0, value, true));
  }
  string(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.u64(bytes.byteLength).add(bytes);
  }
  pad(alignment: number): this {
    return this.add(new Uint8Array((alignment - (this.length % alignment)) % alignment));
  }
  concat(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts));
  }
}

const scalarType = (value: number | string): number =>
  typeof value === "string" ? 8 : Number.isInteger(value) ? 4 : 6;

function addValue(out: Bytes, value: number | boolean | string): void {
  if (typeof value === "string") out.string(value);
  else if (typeof value === "boolean") out.add(Uint8Array.of(value ? 1 : 0));
  else if (Number.isInteger(value)) out.u32(value);
  else out.f32(value);
}

/** A GGUF file: whole numbers as u32, others as f32; lists of numbers as f32 if any is no whole number ≥ 0. */
export function ggufBytes({ metadata, tensors, version = 3, tensorCount, keyCount }: GgufSpec): Uint8Array {
  const out = new Bytes().add(new TextEncoder().encode("GGUF")).u32(version);
  out.u64(tensorCount ?? tensors.length).u64(keyCount ?? Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    out.string(key);
    if (typeof value === "boolean") addValue(out.u32(7), value);
    else if (typeof value === "number" || typeof value === "string")
      addValue(out.u32(scalarType(value)), value);
    else {
      const floats = value.some((item) => typeof item === "number" && !(Number.isInteger(item) && item >= 0));
      out
        .u32(9)
        .u32(floats ? 6 : scalarType(value[0] ?? 0))
        .u64(value.length);
      for (const item of value)
        if (floats) out.f32(Number(item));
        else addValue(out, item);
    }
  }
  const data = new Bytes();
  for (const tensor of tensors) {
    data.pad(32);
    out.string(tensor.name).u32(tensor.dims.length);
    for (const dim of tensor.dims) out.u64(dim);
    out.u32(tensor.type).u64(tensor.offset ?? data.length);
    data.add(tensor.data);
  }
  return out.pad(32).add(data.concat()).concat();
}

/** A safetensors file with this header, written as given, and `dataBytes` zeros behind it. */
export function safetensorsBytes(
  header: string | object,
  dataBytes: number,
  headerLength?: bigint,
): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  return new Bytes()
    .u64(headerLength ?? json.byteLength)
    .add(json)
    .add(new Uint8Array(dataBytes))
    .concat();
}

/**
 * What llama.cpp's convert_hf_to_gguf.py does to q_proj and k_proj of Llama's relatives, written as its reshape and swapaxes:
 * [heads, 2, half, in] → [heads, half, 2, in], `rows` rows in all.
 */
export function interleaveRows(bytes: Uint8Array, heads: number, rows: number): Uint8Array<ArrayBuffer> {
  const rowBytes = bytes.byteLength / rows;
  const half = rows / heads / 2;
  const out = new Uint8Array(bytes.byteLength);
  for (let h = 0; h < heads; h++)
    for (let s = 0; s < 2; s++)
      for (let i = 0; i < half; i++) {
        const from = (h * 2 + s) * half + i;
        out.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), ((h * half + i) * 2 + s) * rowBytes);
      }
  return out;
}

/** A folder that is removed when the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "templora-test-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** GPT-2's byte alphabet as tokens, ids 0 to 255. */
export const byteTokens: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) =>
    (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
      ? String.fromCharCode(byte)
      : String.fromCharCode(next++),
  );
})();

/** A smallest Llama: one layer, byte tokens, Q8_0 for q_proj and Q4_0 for gate_proj, f32 for the rest. */
export function smallGguf(
  metadata: Readonly<Record<string, MetadataValue>> = {},
  change: (tensors: TensorSpec[]) => TensorSpec[] = (tensors) => tensors,
): GgufSpec {
  let seed = 1;
  const bytes = (count: number): Uint8Array =>
    Uint8Array.from({ length: count }, () => (seed = (seed * 48271) % 0x7fffffff) & 0xff);
  const f32 = (name: string, ...dims: number[]): TensorSpec => ({
    name,
    type: 0,
    dims,
    data: bytes(4 * dims.reduce((n, d) => n * d, 1)),
  });
  const [D, F, V, kv] = [32, 64, 258, 16];
  return {
    metadata: {
      "general.architecture": "llama",
      "llama.block_count": 1,
      "llama.context_length": 64,
      "llama.embedding_length": D,
      "llama.feed_forward_length": F,
      "llama.attention.head_count": 4,
      "llama.attention.head_count_kv": 2,
      "llama.attention.layer_norm_rms_epsilon": 1e-5,
      "llama.rope.freq_base": 10000,
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "smollm",
      "tokenizer.ggml.tokens": [...byteTokens, "<|end|>", "th"],
      "tokenizer.ggml.token_type": [...byteTokens.map(() => 1), 3, 1],
      "tokenizer.ggml.merges": ["t h"],
      "tokenizer.ggml.bos_token_id": 256,
      "tokenizer.ggml.eos_token_id": 256,
      ...metadata,
    },
    tensors: change([
      f32("token_embd.weight", D, V),
      f32("output_norm.weight", D),
      f32("blk.0.attn_norm.weight", D),
      { name: "blk.0.attn_q.weight", type: 8, dims: [D, D], data: bytes((D * D * 34) / 32) },
      f32("blk.0.attn_k.weight", D, kv),
      f32("blk.0.attn_v.weight", D, kv),
      f32("blk.0.attn_output.weight", D, D),
      f32("blk.0.ffn_norm.weight", D),
      { name: "blk.0.ffn_gate.weight", type: 2, dims: [D, F], data: bytes((D * F * 18) / 32) },
      f32("blk.0.ffn_up.weight", D, F),
      f32("blk.0.ffn_down.weight", F, D),
    ]),
  };
}
