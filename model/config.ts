/**
 * The shape of a model: its sizes and constants, under the names that config.json and the literature use. How a file gives
 * them is its family's business (families/).
 */
import { BadInputError } from "../engine/errors.ts";
import { type FarKeys, farQueryPosition } from "./far_keys.ts";
import type { LinearName } from "./layers.ts";
import type { RopeConfig } from "./rope.ts";
import { asInteger } from "./untrusted.ts";

/** What a layer computes, beside the sizes that all layers share. */
export interface LayerFacts {
  /** Rotation of queries and keys by position; null = none. */
  readonly rope: RopeConfig | null;
  /** Last keys that a query sees, its own included; 0 = all before it. */
  readonly window: number;
  /** Keys outside the window that it sees too, from afar. */
  readonly far?: FarKeys;
  /** Queries · keys are multiplied by this. */
  readonly attention_scale: number;
  /** The scaled products become cap · tanh(product / cap); 0 = they stay. */
  readonly attn_logit_softcapping: number;
  /** RMSNorm of queries and keys: of each head [head_dim], or of all heads together [heads · head_dim]; null = none. */
  readonly qk_norm: "head" | "all" | null;
  /** The linear layers that have a bias. */
  readonly biases: readonly LinearName[];
  /** act(gate) · up inside the MLP. */
  readonly hidden_act: "silu" | "gelu_pytorch_tanh";
  /** What attention and MLP give is multiplied by this before it is added to the residual stream. */
  readonly residual_multiplier: number;
}

export interface ModelConfig {
  /** rows of the embedding and of the logits (V) */
  readonly vocab_size: number;
  /** width of the residual stream (D) */
  readonly hidden_size: number;
  /** width inside the MLP (F) */
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  /** query heads (H) */
  readonly num_attention_heads: number;
  /** key/value heads (KV); each serves H / KV query heads */
  readonly num_key_value_heads: number;
  /** width of one head, even; H · head_dim need not be D */
  readonly head_dim: number;
  /** added to the mean square inside RMSNorm's root */
  readonly rms_norm_eps: number;
  /** positions that the model was made for */
  readonly max_position_embeddings: number;
  /** what it is for runs of more positions: another model, of other RoPE */
  readonly longer?: ModelConfig;
  /** the logits use the embedding matrix again; there is no lm_head.weight */
  readonly tie_word_embeddings: boolean;
  /** rows of the embedding are multiplied by this */
  readonly embedding_multiplier: number;
  /** logits are multiplied by this */
  readonly logits_multiplier: number;
  /** and then become cap · tanh(logit / cap); 0 = they stay */
  readonly final_logit_softcapping: number;
  /** num_hidden_layers of them */
  readonly layers: readonly LayerFacts[];
  readonly bos_token_id: number | null;
  /** any of them ends a generated text */
  readonly eos_token_ids: readonly number[];
}

// Far above any real model, low enough that products of two stay exact and lists of layers stay small.
export const MAX_SIZE = 2 ** 24;
const MAX_LAYERS = 4096;

/** A size, count or token id of a model. */
export const asSize = (value: unknown, where: string): number => asInteger(value, where, 1, MAX_SIZE);
export const asTokenId = (value: unknown, where: string): number => asInteger(value, where, 0, MAX_SIZE);
/** Token ids as config.json and generation_config.json have them: one, a list, or null. */
export const asTokenIds = (value: unknown, where: string): number[] =>
  (Array.isArray(value) ? value : value === null || value === undefined ? [] : [value]).map((id) =>
    asTokenId(id, where),
  );
export const asLayers = (value: unknown, where: string): number => asInteger(value, where, 1, MAX_LAYERS);

/**
 * LongRoPE has other divisors beyond the positions that a model was first trained on, and keys that are turned by either do not match.
 * transformers takes them for a pass that goes beyond, and makes its cache anew; here, as in llama.cpp, the most positions that a run
 * can have decide for all of it.
 */
export function withLonger(config: ModelConfig): ModelConfig {
  const originals = config.layers.flatMap(({ rope }) =>
    rope?.rope_scaling?.type === "longrope" ? rope.rope_scaling.original_max_position_embeddings : [],
  );
  const most = Math.min(...originals);
  if (most >= config.max_position_embeddings) return config;
  const longer = withRopes(config, (rope) =>
    rope.rope_scaling?.type === "longrope"
      ? { ...rope, rope_scaling: { ...rope.rope_scaling, divisors: rope.rope_scaling.longer } }
      : rope,
  );
  return { ...config, max_position_embeddings: most, longer };
}

/** The model as runs take it whose window and chunk have so many positions together: RoPE may depend on them. */
export function servingPositions(config: ModelConfig, positions: number): ModelConfig {
  const { max_position_embeddings: most, longer } = config;
  if (longer && positions > most) return longer;
  return withRopes(config, (rope, { far }) => {
    const taken = far ? Math.min(positions, farQueryPosition(far, positions - 1) + 1) : positions;
    return rope.rope_scaling?.type === "dynamic"
      ? { ...rope, rope_scaling: { ...rope.rope_scaling, positions: taken } }
      : rope;
  });
}

/**
 * Whether positions can be too far apart in a layer: it has RoPE, and no window of its own while others see everything. (Where all
 * have one, texts beyond the model's positions are beyond the windows, too.)
 */
export function reachesFar({ layers }: ModelConfig): (layer: LayerFacts) => boolean {
  const someSeeAll = layers.some(({ rope, window }) => rope !== null && window === 0);
  return ({ rope, window }) => rope !== null && (window === 0 || !someSeeAll);
}

/** The same model with another RoPE in the layers that have one. */
export function withRopes(
  config: ModelConfig,
  change: (rope: RopeConfig, layer: LayerFacts) => RopeConfig,
): ModelConfig {
  const layers = config.layers.map((layer) => ({ ...layer, rope: layer.rope && change(layer.rope, layer) }));
  return { ...config, layers };
}

/** Checks what holds between fields; `where` is the file. */
export function checked(config: ModelConfig, where: string): ModelConfig {
  const { num_attention_heads: heads, num_key_value_heads: kv, head_dim, vocab_size } = config;
  if (heads % kv !== 0)
    throw new BadInputError(
      `${where}: ${heads} attention heads cannot share ${kv} key/value heads; one must divide the other`,
    );
  if (head_dim % 2 !== 0) throw new BadInputError(`${where}: head_dim ${head_dim} is odd; RoPE turns pairs`);
  const ids =
    config.bos_token_id === null ? config.eos_token_ids : [config.bos_token_id, ...config.eos_token_ids];
  for (const id of ids)
    if (id >= vocab_size)
      throw new BadInputError(`${where}: token id ${id} is outside the vocabulary of ${vocab_size}`);
  return config;
}
