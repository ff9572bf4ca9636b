/**
 * The shape of a model: its sizes and constants, under the names that config.json and the literature use. How a file gives
 * them is its family's business (families/).
 */
import { BadInputError } from "../engine/errors.ts";
import type { RopeScaling } from "./rope.ts";
import { asInteger } from "./untrusted.ts";

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
  /** RoPE's base θ: pair i of a head turns by position · θ^(−2i / head_dim) */
  readonly rope_theta: number;
  readonly rope_scaling: RopeScaling | null;
  /** positions that the model was made for */
  readonly max_position_embeddings: number;
  /** the logits use the embedding matrix again; there is no lm_head.weight */
  readonly tie_word_embeddings: boolean;
  readonly bos_token_id: number | null;
  /** any of them ends a generated text */
  readonly eos_token_ids: readonly number[];
}

// Far above any real model, low enough that products of two stay exact and lists of layers stay small.
const MAX_SIZE = 2 ** 24;
const MAX_LAYERS = 4096;

/** A size, count or token id of a model. */
export const asSize = (value: unknown, where: string): number => asInteger(value, where, 1, MAX_SIZE);
export const asTokenId = (value: unknown, where: string): number => asInteger(value, where, 0, MAX_SIZE);
export const asLayers = (value: unknown, where: string): number => asInteger(value, where, 1, MAX_LAYERS);

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
