/**
 * SmolLM3: Llama in which every fourth layer does not rotate queries and keys (NoPE, https://arxiv.org/abs/2501.18795).
 * https://huggingface.co/blog/smollm3; transformers' modeling_smollm3.py.
 */
import type { Family } from "../family.ts";
import { asInteger } from "../untrusted.ts";
import { llama, silu } from "./llama.ts";

export const smollm3: Family = {
  ...llama,
  model_type: "smollm3",
  architecture: "smollm3",
  config(fields) {
    silu(fields);
    const sizes = fields.sizes({ max_position_embeddings: 32768, num_key_value_heads: 4 });
    const interval = fields.size(["no_rope_layer_interval", null], 4);
    const rotates = fields.list(["no_rope_layers", null], sizes.num_hidden_layers); // 1 = it does
    const turns = (i: number): boolean =>
      rotates
        ? asInteger(rotates[i], `${fields.where}: no_rope_layers[${i}]`, 0, 1) === 1
        : (i + 1) % interval !== 0;
    const windows = fields.windows(sizes, fields.switchedWindow(0), (i) => !turns(i));
    const rope = fields.rope(sizes, { theta: ["rope_theta", "rope.freq_base"], otherwise: 2e6 });
    const biases = fields.biases(["attention_bias", "mlp_bias"]);
    return fields.config(sizes, {
      tied: true,
      layers: (i) => ({ rope: turns(i) ? rope : null, window: windows[i] ?? 0, biases }),
    });
  },
};
