/**
 * Gemma 2 (https://arxiv.org/abs/2408.00118, transformers' modeling_gemma2.py): norms before and after attention and MLP, GeGLU,
 * soft caps, a window in every other layer, an embedding scaled by √hidden_size. Gemma 3's text model
 * (https://arxiv.org/abs/2503.19786, modeling_gemma3.py): RMSNorm of queries and keys in place of the caps, five layers with a
 * window and a RoPE of their own for each without.
 */
import type { ModelConfig } from "../config.ts";
import type { Family } from "../family.ts";
import type { Fields, Sizes } from "../fields.ts";

const gemma = {
  norms: {
    pre_attention_norm: ["input_layernorm", "attn_norm"],
    post_attention_norm: ["post_attention_layernorm", "post_attention_norm"],
    pre_mlp_norm: ["pre_feedforward_layernorm", "ffn_norm"],
    post_mlp_norm: ["post_feedforward_layernorm", "post_ffw_norm"],
  },
  gainsLessOne: true,
} as const;

export const gemma2: Family = {
  model_type: "gemma2",
  architecture: "gemma2",
  ...gemma,
  config(fields) {
    const sizes = sizesOf(fields, 8192);
    const windows = fields.windows(sizes, fields.window(windowName, 4096), (i) => i % 2 === 0);
    return configOf(fields, sizes, { caps: [50, 30], layersOfLargest: 46 }, (i) => ({
      window: windows[i] ?? 0,
    }));
  },
};

export const gemma3: Family = {
  model_type: "gemma3_text",
  architecture: "gemma3",
  ...gemma,
  config(fields) {
    const sizes = sizesOf(fields, 131072);
    const pattern = fields.size(["sliding_window_pattern", "attention.sliding_window_pattern"], 6);
    // llama.cpp knows a GGUF file without a window as a model without any
    const window = fields.window(windowName, fields.kind === "GGUF" ? undefined : 4096);
    const windows = fields.windows(sizes, window, (i) => (i + 1) % pattern !== 0);
    const far = fields.rope(sizes, {
      theta: ["rope_theta", "rope.freq_base"],
      otherwise: 1e6,
      of: "full_attention",
    });
    const near = fields.rope(sizes, {
      theta: ["rope_local_base_freq", "rope.freq_base_swa"],
      otherwise: 1e4,
      of: "sliding_attention",
      unscaled: true,
    });
    return configOf(fields, sizes, { caps: [null, 0], layersOfLargest: 62 }, (i) => ({
      window: windows[i] ?? 0,
      rope: windows[i] ? near : far,
      qk_norm: "head",
    }));
  },
};

const windowName = ["sliding_window", "attention.sliding_window"] as const;

function sizesOf(fields: Fields, max_position_embeddings: number): Sizes {
  for (const key of ["hidden_activation", "hidden_act"])
    fields.only([key, null], ["gelu_pytorch_tanh"], `${key} "gelu_pytorch_tanh"`);
  return fields.sizes({ max_position_embeddings, num_key_value_heads: 4, head_dim: 256 });
}

/** `caps`: of attention's and the head's logits where the file does not say; null = there is none. */
function configOf(
  fields: Fields,
  sizes: Sizes,
  {
    caps,
    layersOfLargest,
  }: { readonly caps: readonly [attention: number | null, head: number]; readonly layersOfLargest: number },
  layers: (i: number) => Partial<ModelConfig["layers"][number]>,
): ModelConfig {
  const { hidden_size, num_attention_heads, num_hidden_layers, head_dim } = sizes;
  // GGUF does not hold query_pre_attn_scalar: it is head_dim, but in the 27B models, which llama.cpp knows by their layers, too
  const scalar = num_hidden_layers === layersOfLargest ? hidden_size / num_attention_heads : head_dim;
  const query_pre_attn_scalar = fields.positive(
    ["query_pre_attn_scalar", null],
    fields.kind === "GGUF" ? scalar : 256,
  );
  const [attention, head] = caps;
  // Gemma 3's code does not know this cap: a file that has it is refused
  const cap =
    attention === null ? 0 : fields.cap(["attn_logit_softcapping", "attn_logit_softcapping"], attention);
  const biases = fields.biases(["attention_bias"]);
  return fields.config(sizes, {
    tied: true,
    embedding_multiplier: Math.sqrt(hidden_size),
    final_logit_softcapping: fields.cap(["final_logit_softcapping", "final_logit_softcapping"], head),
    layers: (i) => ({
      attention_scale: query_pre_attn_scalar ** -0.5,
      attn_logit_softcapping: cap,
      hidden_act: "gelu_pytorch_tanh",
      biases,
      ...layers(i),
    }),
  });
}
