/**
 * Phi-3 and Phi-4-mini: Llama whose files hold queries, keys and values in one tensor, and the MLP's two first layers in another; with
 * LongRoPE and, from Phi-4-mini on, heads of which a part turns. https://arxiv.org/abs/2404.14219, https://arxiv.org/abs/2503.01743;
 * transformers' modeling_phi3.py.
 */
import type { Family } from "../family.ts";
import { preNorms, silu } from "./llama.ts";

export const phi3: Family = {
  model_type: "phi3",
  architecture: "phi3",
  norms: preNorms,
  fused: [
    { names: ["self_attn.qkv_proj", "attn_qkv"], layers: ["q_proj", "k_proj", "v_proj"] },
    { names: ["mlp.gate_up_proj", "ffn_up"], layers: ["gate_proj", "up_proj"] },
  ],
  config(fields) {
    silu(fields);
    const sizes = fields.sizes({ max_position_embeddings: 4096, rms_norm_eps: 1e-5 });
    const window = // in GGUF, 0 stands for none
      fields.window(["sliding_window", null], 0) || fields.count([null, "attention.sliding_window"], 0);
    const theta = ["rope_theta", "rope.freq_base"] as const;
    const rope = fields.rope(sizes, { theta, otherwise: 10000, partial: true });
    return fields.config(sizes, { layers: () => ({ window, rope }) });
  },
};
