/** Granite 3: Llama with four multipliers. https://arxiv.org/abs/2408.13359 (power scheduler, µP); transformers' modeling_granite.py. */
import type { Family } from "../family.ts";
import { llama, silu } from "./llama.ts";

export const granite: Family = {
  ...llama,
  model_type: "granite",
  architecture: "granite",
  config(fields) {
    silu(fields);
    const sizes = fields.sizes();
    fields.only([null, "rope.scaling.finetuned"], [true], "Granite with RoPE"); // llama.cpp leaves it out where this is false
    const biases = fields.biases(["attention_bias", "mlp_bias"]);
    const attention_scale = fields.multiplier(
      ["attention_multiplier", "attention.scale"],
      fields.kind === "GGUF" ? sizes.head_dim ** -0.5 : 1,
    );
    const residual_multiplier = fields.multiplier(["residual_multiplier", "residual_scale"], 1);
    return fields.config(sizes, {
      embedding_multiplier: fields.multiplier(["embedding_multiplier", "embedding_scale"], 1),
      logits_multiplier: 1 / fields.multiplier(["logits_scaling", "logit_scale"], 1),
      layers: () => ({ attention_scale, residual_multiplier, biases }),
    });
  },
};
