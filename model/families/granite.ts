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
    const biases = fields.biases();
    const attention_scale = fields.positive(
      ["attention_multiplier", "attention.scale"],
      fields.kind === "GGUF" ? sizes.head_dim ** -0.5 : 1,
    );
    const residual_multiplier = fields.positive(["residual_multiplier", "residual_scale"], 1);
    return fields.config(sizes, {
      embedding_multiplier: fields.positive(["embedding_multiplier", "embedding_scale"], 1),
      logits_multiplier: 1 / fields.positive(["logits_scaling", "logit_scale"], 1),
      layers: () => ({ attention_scale, residual_multiplier, biases }),
    });
  },
};
