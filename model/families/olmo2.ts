/**
 * OLMo 2: norms of what attention and MLP give alone, and RMSNorm over all query heads together, and all key heads.
 * https://arxiv.org/abs/2501.00656; transformers' modeling_olmo2.py.
 */
import type { Family } from "../family.ts";
import { silu } from "./llama.ts";

export const olmo2: Family = {
  model_type: "olmo2",
  architecture: "olmo2",
  norms: {
    post_attention_norm: ["post_attention_layernorm", "post_attention_norm"],
    post_mlp_norm: ["post_feedforward_layernorm", "post_ffw_norm"],
  },
  config(fields) {
    silu(fields);
    const biases = fields.biases(["attention_bias"]);
    return fields.config(fields.sizes({ rms_norm_eps: 1e-5 }), {
      layers: () => ({ qk_norm: "all", biases }),
    });
  },
};
