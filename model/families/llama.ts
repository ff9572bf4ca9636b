/**
 * Llama 2 and 3, and what has their architecture (SmolLM2, TinyLlama …): Touvron et al. 2023, https://arxiv.org/abs/2302.13971;
 * transformers' modeling_llama.py. And Mistral 7B, which is the same with a sliding window: https://arxiv.org/abs/2310.06825.
 */
import type { Family } from "../family.ts";
import type { Fields } from "../fields.ts";

/** Norms before attention and before the MLP. */
export const preNorms = {
  pre_attention_norm: ["input_layernorm", "attn_norm"],
  pre_mlp_norm: ["post_attention_layernorm", "ffn_norm"],
} as const satisfies Family["norms"];

/** Refuses another activation inside the MLP. */
export function silu(fields: Fields): void {
  fields.only(["hidden_act", null], ["silu"], 'hidden_act "silu"');
}

export const llama: Family = {
  model_type: "llama",
  architecture: "llama",
  norms: preNorms,
  interleavedInGguf: true,
  config(fields) {
    silu(fields);
    const biases = fields.biases(["attention_bias", "mlp_bias"]);
    return fields.config(fields.sizes(), { layers: () => ({ biases }) });
  },
};

/** In GGUF, Mistral's architecture is "llama". */
export const mistral: Family = {
  ...llama,
  model_type: "mistral",
  architecture: null,
  config(fields) {
    silu(fields);
    const sizes = fields.sizes({ max_position_embeddings: 131072, num_key_value_heads: 8 });
    // transformers runs one with layer_types as a Ministral, which is the same but for them
    const windows = fields.windows(sizes, fields.window(["sliding_window", null], 4096), () => true);
    return fields.config(sizes, { layers: (i) => ({ window: windows[i] ?? 0 }) });
  },
};
