/** SmolLM2-135M's shapes without its weights: what kernels are measured at where no model is named. */
import { type WeightDType, byteLength } from "../kernels/base/dtype.ts";
import type { Checkpoint, TensorEntry } from "../model/checkpoint.ts";
import type { LlamaConfig } from "../model/config.ts";

const config: LlamaConfig = {
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  head_dim: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 100_000,
  rope_scaling: null,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_ids: [2],
};

const EMBEDDING = "model.embed_tokens.weight";

/** What a model is loaded from when nothing of it but shapes counts: weights are zeros in their storage format. */
export function withoutWeights({
  config,
  tensors,
  source,
}: Pick<Checkpoint, "config" | "tensors" | "source">): Checkpoint {
  return {
    ...{ config, tensors, source },
    get tokenizer(): never {
      throw new Error(`${source}: shapes alone have no tokenizer`);
    },
    read: (name) => Promise.resolve(new Uint8Array(tensors.get(name)?.bytes ?? 0)),
    close: () => Promise.resolve(),
  };
}

/** As in the GGUF file that `npm run fetch:smollm2` fetches. */
export function smollm2Shapes(): Checkpoint {
  const { vocab_size: V, hidden_size: D, intermediate_size: F, head_dim: E } = config;
  const KV = config.num_key_value_heads * E;
  const tensors = new Map<string, TensorEntry>();
  const add = (name: string, ...shape: number[]): void => {
    const dtype: WeightDType = shape.length === 1 ? "f32" : name === EMBEDDING ? "q8_0" : "q4_1";
    const bytes = byteLength(
      dtype,
      shape.reduce((n, size) => n * size, 1),
    );
    tensors.set(name, { name, dtype, shape, bytes });
  };
  add(EMBEDDING, V, D);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    add(`${layer}.input_layernorm.weight`, D);
    add(`${layer}.self_attn.q_proj.weight`, D, D);
    add(`${layer}.self_attn.k_proj.weight`, KV, D);
    add(`${layer}.self_attn.v_proj.weight`, KV, D);
    add(`${layer}.self_attn.o_proj.weight`, D, D);
    add(`${layer}.post_attention_layernorm.weight`, D);
    add(`${layer}.mlp.gate_proj.weight`, F, D);
    add(`${layer}.mlp.up_proj.weight`, F, D);
    add(`${layer}.mlp.down_proj.weight`, D, F);
  }
  add("model.norm.weight", D);
  return withoutWeights({ config, tensors, source: "SmolLM2-135M's shapes" });
}
