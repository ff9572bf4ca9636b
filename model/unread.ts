/**
 * The keys of config.json and of GGUF metadata that transformers' configuration classes and the GGUF convention know, and that a
 * family may not read: refused by name unless they ask for nothing, or harmless. What a family reads, it reads in families/; a key
 * that is in neither place is refused where its name tells that it may change what the model computes (`concerns`).
 * docs/keys.md is made from both.
 *
 * Sources: transformers 5.23 (configuration_utils.py, modeling_rope_utils.py, and configuration_*.py and modeling_*.py of the
 * families), gguf 0.19 (constants.py), llama.cpp (llama-model.cpp, load_hparams).
 */
import type { Unread } from "./keys.ts";

const refusedUnless = (json: string | null, gguf: string | null, ...nothing: readonly unknown[]): Unread => ({
  name: [json, gguf],
  nothing,
});
const harmless = (json: string | null, gguf: string | null = null): Unread => ({
  name: [json, gguf],
  nothing: "any",
});

export const unread: readonly Unread[] = [
  // attention
  refusedUnless("is_causal", "attention.causal", true),
  refusedUnless("use_bidirectional_attention", null, false),
  refusedUnless("sliding_window", "attention.sliding_window", 0),
  refusedUnless("use_sliding_window", null, false),
  refusedUnless("layer_types", null, "full_attention"),
  refusedUnless("sliding_window_pattern", "attention.sliding_window_pattern"),
  refusedUnless("attn_logit_softcapping", "attn_logit_softcapping", 0),
  refusedUnless("query_pre_attn_scalar", null),
  refusedUnless("attention_multiplier", "attention.scale", 0),
  refusedUnless("attention_bias", null, false),
  refusedUnless("mlp_bias", null, false),
  refusedUnless("clip_qkv", "attention.clamp_kqv", 0),
  refusedUnless(null, "attention.max_alibi_bias", 0),
  // RoPE
  refusedUnless("partial_rotary_factor", null, 1),
  refusedUnless("original_max_position_embeddings", null),
  refusedUnless("rope_local_base_freq", "rope.freq_base_swa"),
  refusedUnless("no_rope_layers", null, 1),
  refusedUnless("no_rope_layer_interval", null),
  refusedUnless("rope_interleaved", null, false),
  refusedUnless(null, "rope.scaling.attn_factor", 1),
  refusedUnless(null, "rope.scaling.alpha", 0),
  refusedUnless(null, "rope.scaling.yarn_log_multiplier", 0),
  harmless(null, "rope.scaling.finetuned"),
  harmless(null, "rope.scaling.original_context_length"),
  // multipliers; in GGUF 0 turns one off
  refusedUnless("embedding_multiplier", "embedding_scale", 1, 0),
  refusedUnless("residual_multiplier", "residual_scale", 1, 0),
  refusedUnless("logits_scaling", "logit_scale", 1, 0),
  refusedUnless("final_logit_softcapping", "final_logit_softcapping", 0),
  // another block, other layers, other weights
  refusedUnless("hidden_activation", null, "silu"),
  refusedUnless("per_layer_config", null),
  refusedUnless("quantization_config", null),
  refusedUnless("num_experts", "expert_count", 0),
  refusedUnless("num_local_experts", "expert_used_count", 0),
  refusedUnless(null, "expert_shared_count", 0),
  refusedUnless(null, "leading_dense_block_count", 0),
  refusedUnless(null, "nextn_predict_layers", 0),
  refusedUnless(null, "use_parallel_residual", false),
  refusedUnless(null, "swin_norm", false),
  refusedUnless("is_encoder_decoder", null, false),
  refusedUnless("add_cross_attention", null, false),
  // of training, of other tasks, or of how others compute the same
  ...[
    ...[
      "attention_dropout",
      "attn_pdrop",
      "attention_probs_dropout_prob",
      "initializer_range",
      "pretraining_tp",
    ],
    ...[
      "attn_implementation",
      "_attn_implementation",
      "_attn_implementation_autoset",
      "_flash_attn_2_enabled",
    ],
    ...["use_flash_attn", "use_flash_attention", "use_flash_attention_2", "_experts_implementation"],
    ...["chunk_size_feed_forward", "use_cache", "cache_implementation", "dtype", "torch_dtype"],
    ...["output_attentions", "output_hidden_states", "return_dict", "id2label", "label2id", "problem_type"],
    ...["max_window_layers", "_sliding_window_pattern"], // these say which layers have a window, not that there is one
    ...["model_type", "architectures", "auto_map", "transformers_version", "_name_or_path", "pad_token_id"],
  ].map((json) => harmless(json)),
  harmless(null, "tensor_data_layout"),
  harmless(null, "pooling_type"),
];

/** Of rope_parameters and rope_scaling. */
export const ropeUnread: readonly Unread[] = [harmless("finetuned")];
