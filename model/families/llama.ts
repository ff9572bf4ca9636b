/**
 * Llama 2 and 3, and what has their architecture (SmolLM2, TinyLlama …). Touvron et al. 2023, https://arxiv.org/abs/2302.13971;
 * transformers' modeling_llama.py. Whatever would make a model compute something else (biases, another activation, an unknown
 * RoPE variant) is refused rather than ignored.
 */
import { BadInputError } from "../../engine/errors.ts";
import { type ModelConfig, asLayers, asSize, asTokenId, checked } from "../config.ts";
import type { Family, GgufFacts, GgufTransform } from "../family.ts";
import type { GgufValue } from "../gguf.ts";
import { ggufRopeScaling, ropeScaling } from "../rope_config.ts";
import { asObject, asPositive, show, type Untrusted } from "../untrusted.ts";

function fromConfig(fields: Untrusted, where: string): ModelConfig {
  const size = (key: string, value: unknown = fields[key]): number => asSize(value, `${where}: ${key}`);
  const refuse = (key: string, supported: string): never => {
    throw new BadInputError(
      `${where}: ${key} is ${show(fields[key])}; templora runs Llama models with ${supported}`,
    );
  };
  if ((fields["hidden_act"] ?? "silu") !== "silu") refuse("hidden_act", 'hidden_act "silu"');
  if (fields["attention_bias"] === true) refuse("attention_bias", "attention_bias false");
  if (fields["mlp_bias"] === true) refuse("mlp_bias", "mlp_bias false");
  if ((fields["partial_rotary_factor"] ?? 1) !== 1)
    refuse("partial_rotary_factor", "partial_rotary_factor 1");
  if ((fields["quantization_config"] ?? null) !== null) refuse("quantization_config", "plain float weights");

  const heads = size("num_attention_heads");
  const hidden = size("hidden_size");
  if ((fields["head_dim"] ?? null) === null && hidden % heads !== 0)
    throw new BadInputError(
      `${where}: no head_dim, and hidden_size ${hidden} is not a multiple of ${heads} heads`,
    );
  const positions = size("max_position_embeddings", fields["max_position_embeddings"] ?? 2048);
  // transformers 5 keeps all of RoPE in rope_parameters; before, rope_theta stood alone and rope_scaling beside it.
  const rope = asObject(
    fields["rope_parameters"] ?? fields["rope_scaling"] ?? {},
    `${where}: rope_parameters`,
  );
  const eos = fields["eos_token_id"] ?? [];
  return checked(
    {
      vocab_size: size("vocab_size"),
      hidden_size: hidden,
      intermediate_size: size("intermediate_size"),
      num_hidden_layers: asLayers(fields["num_hidden_layers"], `${where}: num_hidden_layers`),
      num_attention_heads: heads,
      num_key_value_heads: size("num_key_value_heads", fields["num_key_value_heads"] ?? heads),
      head_dim: size("head_dim", fields["head_dim"] ?? hidden / heads),
      rms_norm_eps: asPositive(fields["rms_norm_eps"] ?? 1e-6, `${where}: rms_norm_eps`),
      rope_theta: asPositive(rope["rope_theta"] ?? fields["rope_theta"] ?? 10000, `${where}: rope_theta`),
      rope_scaling: ropeScaling(rope, positions, where),
      max_position_embeddings: positions,
      tie_word_embeddings: fields["tie_word_embeddings"] === true,
      bos_token_id:
        (fields["bos_token_id"] ?? null) === null
          ? null
          : asTokenId(fields["bos_token_id"], `${where}: bos_token_id`),
      eos_token_ids: (Array.isArray(eos) ? eos : [eos]).map((id) => asTokenId(id, `${where}: eos_token_id`)),
    },
    where,
  );
}

/** From GGUF metadata (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
function fromGguf(metadata: ReadonlyMap<string, GgufValue>, facts: GgufFacts, where: string): ModelConfig {
  const size = (key: string, fallback?: number): number =>
    asSize(metadata.get(key) ?? fallback, `${where}: ${key}`);
  const id = (key: string): number[] =>
    metadata.has(key) ? [asTokenId(metadata.get(key), `${where}: ${key}`)] : [];
  const heads = size("llama.attention.head_count");
  const hidden = size("llama.embedding_length");
  const head_dim = size("llama.attention.key_length", hidden / heads);
  const positions = size("llama.context_length");
  const tokens = metadata.get("tokenizer.ggml.tokens");
  for (const key of ["llama.rope.dimension_count", "llama.attention.value_length"])
    if (size(key, head_dim) !== head_dim)
      throw new BadInputError(
        `${where}: ${key} is ${show(metadata.get(key))}, but heads are ${head_dim} wide; only equal is supported`,
      );
  if ((metadata.get("llama.expert_count") ?? 0) !== 0)
    throw new BadInputError(
      `${where}: a mixture of experts (llama.expert_count); templora runs dense Llama models`,
    );
  return checked(
    {
      vocab_size: size("llama.vocab_size", Array.isArray(tokens) ? tokens.length : undefined),
      hidden_size: hidden,
      intermediate_size: size("llama.feed_forward_length"),
      num_hidden_layers: asLayers(metadata.get("llama.block_count"), `${where}: llama.block_count`),
      num_attention_heads: heads,
      num_key_value_heads: size("llama.attention.head_count_kv", heads),
      head_dim,
      rms_norm_eps: asPositive(
        metadata.get("llama.attention.layer_norm_rms_epsilon"),
        `${where}: llama.attention.layer_norm_rms_epsilon`,
      ),
      rope_theta: asPositive(metadata.get("llama.rope.freq_base") ?? 10000, `${where}: llama.rope.freq_base`),
      rope_scaling: ggufRopeScaling("llama", metadata, facts.ropeDivisors, head_dim, positions, where),
      max_position_embeddings: positions,
      tie_word_embeddings: facts.tied,
      bos_token_id: id("tokenizer.ggml.bos_token_id")[0] ?? null,
      eos_token_ids: [
        ...new Set([
          ...id("tokenizer.ggml.eos_token_id"),
          ...id("tokenizer.ggml.eot_token_id"),
          ...id("tokenizer.ggml.eom_token_id"),
        ]),
      ],
    },
    where,
  );
}

export const llama: Family = {
  model_type: "llama",
  architecture: "llama",
  fromConfig,
  fromGguf,
  tensors({ vocab_size: V, hidden_size: D, tie_word_embeddings }) {
    const embed_tokens = { name: "model.embed_tokens.weight", gguf: "token_embd.weight", shape: [V, D] };
    return {
      embed_tokens,
      norm: { name: "model.norm.weight", gguf: "output_norm.weight", shape: [D] },
      lm_head: tie_word_embeddings
        ? embed_tokens
        : { name: "lm_head.weight", gguf: "output.weight", shape: [V, D] },
    };
  },
  layerTensors({ hidden_size: D, intermediate_size: F, head_dim, ...config }, layer) {
    const q = config.num_attention_heads * head_dim;
    const kv = config.num_key_value_heads * head_dim;
    const spec = (name: string, gguf: string, ...shape: number[]) => ({
      name: `model.layers.${layer}.${name}.weight`,
      gguf: `blk.${layer}.${gguf}.weight`,
      shape,
    });
    // convert_hf_to_gguf.py, LlamaModel.permute
    const halfSplit = (heads: number): { fromGguf: GgufTransform } => ({
      fromGguf: { type: "half_split", heads },
    });
    return {
      input_layernorm: spec("input_layernorm", "attn_norm", D),
      q_proj: { ...spec("self_attn.q_proj", "attn_q", q, D), ...halfSplit(config.num_attention_heads) },
      k_proj: { ...spec("self_attn.k_proj", "attn_k", kv, D), ...halfSplit(config.num_key_value_heads) },
      v_proj: spec("self_attn.v_proj", "attn_v", kv, D),
      o_proj: spec("self_attn.o_proj", "attn_output", D, q),
      post_attention_layernorm: spec("post_attention_layernorm", "ffn_norm", D),
      gate_proj: spec("mlp.gate_proj", "ffn_gate", F, D),
      up_proj: spec("mlp.up_proj", "ffn_up", F, D),
      down_proj: spec("mlp.down_proj", "ffn_down", D, F),
    };
  },
  layer: ({ head_dim, rope_theta, rope_scaling }) => ({
    rope: { head_dim, rope_theta, rope_scaling },
    window: 0,
    attention_scale: 1 / Math.sqrt(head_dim),
  }),
};
