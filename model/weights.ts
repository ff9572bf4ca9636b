/** Loads a checkpoint's tensors onto a device, in their storage formats. Names are Hugging Face's. */
import type { Engine } from "../engine/engine.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Tensor } from "../engine/tensor.ts";
import { widen } from "../kernels/shared/weight_formats.ts";
import type { Checkpoint } from "./checkpoint.ts";

export interface LayerWeights {
  readonly input_layernorm: Tensor; // [hidden_size]
  readonly q_proj: Tensor; // [num_attention_heads·head_dim, hidden_size]
  readonly k_proj: Tensor; // [num_key_value_heads·head_dim, hidden_size]
  readonly v_proj: Tensor; // [num_key_value_heads·head_dim, hidden_size]
  readonly o_proj: Tensor; // [hidden_size, num_attention_heads·head_dim]
  readonly post_attention_layernorm: Tensor; // [hidden_size]
  readonly gate_proj: Tensor; // [intermediate_size, hidden_size]
  readonly up_proj: Tensor; // [intermediate_size, hidden_size]
  readonly down_proj: Tensor; // [hidden_size, intermediate_size]
}

export interface LlamaWeights {
  readonly embed_tokens: Tensor; // [vocab_size, hidden_size]
  readonly layers: readonly LayerWeights[];
  readonly norm: Tensor; // [hidden_size]
  /** [vocab_size, hidden_size]; the embedding table itself when tied. */
  readonly lm_head: Tensor;
}

/** The caller owns the tensors. `onProgress` hears bytes done and in all. */
export async function loadWeights(
  engine: Engine,
  checkpoint: Checkpoint,
  onProgress?: (done: number, total: number) => void,
): Promise<LlamaWeights> {
  const { config, tensors } = checkpoint;
  const total = [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const load = async (name: string): Promise<Tensor> => {
    const entry = tensors.get(name);
    if (!entry) throw new BadInputError(`${checkpoint.source}: tensor ${name} is missing`);
    const bytes = await checkpoint.read(name);
    done += bytes.byteLength;
    onProgress?.(done, total);
    return engine.weight(bytes, entry.shape, entry.dtype, name);
  };
  /** Norm gains are read as f32 by their kernels, whatever the file holds. */
  const loadGain = async (name: string): Promise<Tensor> => {
    const entry = tensors.get(name);
    if (!entry) throw new BadInputError(`${checkpoint.source}: tensor ${name} is missing`);
    const bytes = await checkpoint.read(name);
    done += bytes.byteLength;
    return engine.tensor(Float32Array.from(widen(entry.dtype, bytes)), entry.shape, name);
  };
  const embed_tokens = await load("model.embed_tokens.weight");
  const layers: LayerWeights[] = [];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const at = `model.layers.${i}`;
    layers.push({
      input_layernorm: await loadGain(`${at}.input_layernorm.weight`),
      q_proj: await load(`${at}.self_attn.q_proj.weight`),
      k_proj: await load(`${at}.self_attn.k_proj.weight`),
      v_proj: await load(`${at}.self_attn.v_proj.weight`),
      o_proj: await load(`${at}.self_attn.o_proj.weight`),
      post_attention_layernorm: await loadGain(`${at}.post_attention_layernorm.weight`),
      gate_proj: await load(`${at}.mlp.gate_proj.weight`),
      up_proj: await load(`${at}.mlp.up_proj.weight`),
      down_proj: await load(`${at}.mlp.down_proj.weight`),
    });
  }
  const norm = await loadGain("model.norm.weight");
  const lm_head = config.tie_word_embeddings ? embed_tokens : await load("lm_head.weight");
  return { embed_tokens, layers, norm, lm_head };
}
