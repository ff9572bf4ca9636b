/**
 * Qwen 2 and 2.5: Llama with biases of queries, keys and values (https://arxiv.org/abs/2407.10671, transformers' modeling_qwen2.py).
 * Qwen 3: without them, but with RMSNorm of each query and key head (https://arxiv.org/abs/2505.09388, modeling_qwen3.py).
 */
import type { Family } from "../family.ts";
import type { Fields, Sizes } from "../fields.ts";
import { preNorms, silu } from "./llama.ts";

export const qwen2: Family = {
  model_type: "qwen2",
  architecture: "qwen2",
  norms: preNorms,
  config(fields) {
    silu(fields);
    const sizes = fields.sizes({ max_position_embeddings: 32768, num_key_value_heads: 32 });
    const windows = windowsOf(fields, sizes);
    return fields.config(sizes, {
      layers: (i) => ({ window: windows[i] ?? 0, biases: ["q_proj", "k_proj", "v_proj"] }),
    });
  },
};

export const qwen3: Family = {
  model_type: "qwen3",
  architecture: "qwen3",
  norms: preNorms,
  config(fields) {
    silu(fields);
    const sizes = fields.sizes({ max_position_embeddings: 32768, num_key_value_heads: 32, head_dim: 128 });
    const windows = windowsOf(fields, sizes);
    const biases = fields.biases(["attention_bias"]);
    return fields.config(sizes, { layers: (i) => ({ window: windows[i] ?? 0, biases, qk_norm: "head" }) });
  },
};

/** The upper layers have a window where use_sliding_window says so. */
function windowsOf(fields: Fields, sizes: Sizes): number[] {
  const from = fields.count(["max_window_layers", null], 28);
  return fields.windows(sizes, fields.switchedWindow(4096), (i) => i >= from);
}
