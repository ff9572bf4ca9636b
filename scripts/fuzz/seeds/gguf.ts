/** A GGUF model of every architecture, one with every type of metadata, one with every format of weights, one in two parts. */
import { byteLength } from "../../../kernels/base/dtype.ts";
import { formats, weightDTypes } from "../../../kernels/formats/index.ts";
import { describeGguf, families } from "../../../model/families/index.ts";
import { tensorsOf } from "../../../model/family.ts";
import { type MetadataValue, type TensorSpec, ggufBytes } from "../../../test/support/model_files.ts";
import { inputOf } from "../files.ts";
import { ggufEntry, withEntries } from "./gguf_entries.ts";
import { chatTemplate, tokens, write } from "./write.ts";

type Metadata = Readonly<Record<string, MetadataValue>>;

const shared: Metadata = {
  ...{ context_length: 16, embedding_length: 4, feed_forward_length: 4, block_count: 2 },
  ...{ "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 2 },
  ...{ "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000 },
};
/** What the families have beside that. */
const own: Readonly<Record<string, Metadata>> = {
  gemma2: { "attention.sliding_window": 7, attn_logit_softcapping: 50.5, final_logit_softcapping: 30.5 },
  gemma3: { "attention.sliding_window": 7, "rope.scaling.type": "linear", "rope.scaling.factor": 4 },
  granite: { embedding_scale: 3, "attention.scale": 0.25, residual_scale: 0.5, logit_scale: 2.5 },
  phi3: { "attention.sliding_window": 7, "rope.dimension_count": 2 },
  qwen3: { "rope.scaling.type": "yarn", "rope.scaling.factor": 4, "rope.scaling.original_context_length": 8 },
};
/** Their tokenizers are sentencepiece's. */
const pieces = ["gemma2", "gemma3", "phi3"];

function tokenizer(architecture: string): Metadata {
  const key = "tokenizer.ggml";
  return {
    ...{ [`${key}.tokens`]: tokens, [`${key}.token_type`]: [3, 3, 1, 1, 1, 1, 4] },
    ...{ [`${key}.bos_token_id`]: 0, [`${key}.eos_token_id`]: 1, [`${key}.add_bos_token`]: true },
    ...(pieces.includes(architecture)
      ? { [`${key}.model`]: "llama", [`${key}.scores`]: tokens.map((_, i) => -i - 0.5) }
      : { [`${key}.model`]: "gpt2", [`${key}.pre`]: "qwen2", [`${key}.merges`]: ["a b"] }),
  };
}

function model(architecture: string, more: Metadata = {}, extra: readonly TensorSpec[] = []): Buffer {
  const sizes = Object.entries({ ...shared, ...own[architecture] });
  const metadata: Metadata = {
    "general.architecture": architecture,
    ...Object.fromEntries(sizes.map(([key, value]) => [`${architecture}.${key}`, value])),
    ...{ ...tokenizer(architecture), ...more },
  };
  const isLongRope = extra.some(({ name }) => name.startsWith("rope_factors"));
  const rope = isLongRope ? { short: [1], long: [1] } : {};
  const known = new Map(Object.entries(metadata));
  const { family, config } = describeGguf(known, { has: () => false, rope });
  const { embed_tokens, norm, layers } = tensorsOf(family, config);
  const specs = [embed_tokens, norm, ...layers.flatMap((layer) => Object.values(layer))];
  const stored = new Map(specs.map((spec) => [(spec.within ?? spec).gguf, (spec.within ?? spec).shape]));
  const tensors = [...stored].map(([name, shape]) => zeros(name, ...shape.toReversed()));
  return Buffer.from(ggufBytes({ metadata, tensors: [...tensors, ...extra] }));
}

function zeros(name: string, ...dims: number[]): TensorSpec {
  return { name, type: 0, dims, data: new Uint8Array(4 * dims.reduce((n, dim) => n * dim, 1)) };
}

/** Scalars of every type, lists of them, and a list of lists. */
function everyType(): Buffer[] {
  const types = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12];
  const lists = types.map((type) => ggufEntry(`test.list${type}`, type, [1, 0]));
  const scalars = types.map((type) => ggufEntry(`test.scalar${type}`, type, 1));
  return [...scalars, ...lists, ggufEntry("test.lists", 9, [[1], []])];
}

function parts(): Buffer {
  const split = (no: number): Metadata => ({ "split.no": no, "split.count": 2, "split.tensors.count": 21 });
  const second = ggufBytes({ metadata: split(1), tensors: [zeros("output.weight", 4, tokens.length)] });
  return inputOf(Object.entries({ 1: model("llama", split(0)), 2: second }));
}

export function ggufSeeds(): void {
  for (const { architecture } of families)
    if (architecture !== null) write("gguf", architecture, model(architecture));
  const factors = ["short", "long"].map((kind) => zeros(`rope_factors_${kind}.weight`, 1));
  const ones = factors.map((tensor) => ({ ...tensor, data: new Uint8Array(Float32Array.of(1).buffer) }));
  const original = { "phi3.rope.scaling.original_context_length": 8, "phi3.rope.scaling.attn_factor": 1.5 };
  write("gguf", "longrope", model("phi3", original, ones));
  const divisors = { ...zeros("rope_freqs.weight", 1), data: new Uint8Array(Float32Array.of(2).buffer) };
  write("gguf", "divisors", model("llama", {}, [divisors]));
  write(
    "gguf",
    "template",
    model("llama", { "tokenizer.chat_template": chatTemplate, "general.alignment": 32 }),
  );
  write("gguf", "types", withEntries(model("llama"), everyType()));
  write("gguf", "parts", parts());
  const tensors = weightDTypes.map((dtype) => ({
    ...{ name: dtype, type: formats[dtype].ggml, dims: [formats[dtype].block, 1] },
    data: new Uint8Array(byteLength(dtype, formats[dtype].block)),
  }));
  write("gguf", "formats", ggufBytes({ metadata: { "general.architecture": "llama" }, tensors }));
}
