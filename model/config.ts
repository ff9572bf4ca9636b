/**
 * The shape of a Llama: its sizes and constants, under the names that config.json and the literature use. Comes from a
 * Hugging Face config.json or from GGUF metadata; whatever would make the model compute something else (biases, another
 * activation, an unknown RoPE variant) is refused here rather than ignored. RoPE's tables are in rope.ts.
 */
import { BadInputError } from "../engine/errors.ts";
import type { GgufValue } from "./gguf.ts";
import type { RopeScaling } from "./rope.ts";
import { asInteger, asObject, asPositive, show, type Untrusted } from "./untrusted.ts";

export { type RopeScaling, ropeTable } from "./rope.ts";

export interface LlamaConfig {
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

/** Checks what holds between fields; `where` is the file. */
function checked(config: LlamaConfig, where: string): LlamaConfig {
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

/** From the parsed config.json of a Hugging Face model folder. */
export function configFromHuggingFace(json: unknown, where = "config.json"): LlamaConfig {
  const fields = asObject(json, where);
  const size = (key: string, value: unknown = fields[key]): number =>
    asInteger(value, `${where}: ${key}`, 1, MAX_SIZE);
  const refuse = (key: string, supported: string): never => {
    throw new BadInputError(
      `${where}: ${key} is ${show(fields[key])}; templora runs Llama models with ${supported}`,
    );
  };
  if (fields["model_type"] !== "llama") refuse("model_type", 'model_type "llama"');
  if ((fields["hidden_act"] ?? "silu") !== "silu") refuse("hidden_act", 'hidden_act "silu"');
  if (fields["attention_bias"] === true) refuse("attention_bias", "attention_bias false");
  if (fields["mlp_bias"] === true) refuse("mlp_bias", "mlp_bias false");
  if ((fields["partial_rotary_factor"] ?? 1) !== 1)
    refuse("partial_rotary_factor", "partial_rotary_factor 1");
  if ((fields["quantization_config"] ?? null) !== null) refuse("quantization_config", "plain float weights");

  const heads = size("num_attention_heads");
  const hidden = size("hidden_size");
  if ((fields["head_dim"] ?? null) === null && hidden % heads !== 0)
    throw new BadInputError(
      `${where}: no head_dim, and hidden_size ${hidden} is not a multiple of ${heads} heads`,
    );
  const positions = size("max_position_embeddings", fields["max_position_embeddings"] ?? 2048);
  // transformers 5 keeps all of RoPE in rope_parameters; before, rope_theta stood alone and rope_scaling beside it.
  const rope = asObject(
    fields["rope_parameters"] ?? fields["rope_scaling"] ?? {},
    `${where}: rope_parameters`,
  );
  const eos = fields["eos_token_id"] ?? [];
  return checked(
    {
      vocab_size: size("vocab_size"),
      hidden_size: hidden,
      intermediate_size: size("intermediate_size"),
      num_hidden_layers: asInteger(fields["num_hidden_layers"], `${where}: num_hidden_layers`, 1, MAX_LAYERS),
      num_attention_heads: heads,
      num_key_value_heads: size("num_key_value_heads", fields["num_key_value_heads"] ?? heads),
      head_dim: size("head_dim", fields["head_dim"] ?? hidden / heads),
      rms_norm_eps: asPositive(fields["rms_norm_eps"] ?? 1e-6, `${where}: rms_norm_eps`),
      rope_theta: asPositive(rope["rope_theta"] ?? fields["rope_theta"] ?? 10000, `${where}: rope_theta`),
      rope_scaling: ropeScaling(rope, positions, where),
      max_position_embeddings: positions,
      tie_word_embeddings: fields["tie_word_embeddings"] === true,
      bos_token_id:
        (fields["bos_token_id"] ?? null) === null
          ? null
          : tokenId(fields["bos_token_id"], `${where}: bos_token_id`),
      eos_token_ids: (Array.isArray(eos) ? eos : [eos]).map((id) => tokenId(id, `${where}: eos_token_id`)),
    },
    where,
  );
}

const tokenId = (value: unknown, where: string): number => asInteger(value, where, 0, MAX_SIZE);

function ropeScaling(rope: Untrusted, positions: number, file: string): RopeScaling | null {
  const type = rope["rope_type"] ?? rope["type"] ?? "default";
  const where = `${file}: rope_scaling`;
  const number = (key: string): number => asPositive(rope[key], `${where}.${key}`);
  const original = (): number =>
    asInteger(
      rope["original_max_position_embeddings"] ?? positions,
      `${where}.original_max_position_embeddings`,
      1,
      MAX_SIZE,
    );
  if ((rope["partial_rotary_factor"] ?? 1) !== 1)
    throw new BadInputError(
      `${where}.partial_rotary_factor is ${show(rope["partial_rotary_factor"])}; only 1 is supported`,
    );
  switch (type) {
    case "default":
      return null;
    case "linear":
      return { type: "linear", factor: number("factor") };
    case "llama3": {
      const [low, high] = [number("low_freq_factor"), number("high_freq_factor")];
      if (high <= low)
        throw new BadInputError(`${where}: high_freq_factor ${high} must be above low_freq_factor ${low}`);
      return {
        type: "llama3",
        factor: number("factor"),
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original(),
      };
    }
    case "yarn": {
      const factor = number("factor");
      return {
        type: "yarn",
        factor,
        original_max_position_embeddings: original(),
        attention_factor: asPositive(
          rope["attention_factor"] ?? yarnAttention(factor, rope),
          `${where}.attention_factor`,
        ),
        beta_fast: asPositive(rope["beta_fast"] ?? 32, `${where}.beta_fast`),
        beta_slow: asPositive(rope["beta_slow"] ?? 1, `${where}.beta_slow`),
        truncate: rope["truncate"] !== false,
      };
    }
    default:
      throw new BadInputError(
        `${where}: type ${show(type)} is not supported; default, linear, llama3 and yarn are`,
      );
  }
}

/** YaRN's attention factor where the file gives none: 0.1 ln(factor) + 1, or DeepSeek's quotient of two of them. */
function yarnAttention(factor: number, rope: Untrusted = {}): number {
  const scale = (m: number): number => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const { mscale, mscale_all_dim } = rope;
  return typeof mscale === "number" &&
    typeof mscale_all_dim === "number" &&
    mscale !== 0 &&
    mscale_all_dim !== 0
    ? scale(mscale) / scale(mscale_all_dim)
    : scale(1);
}

/** What of a GGUF file's configuration is not in its metadata, but told by its tensors. */
export interface GgufFacts {
  /** no output.weight */
  readonly tied: boolean;
  /** the contents of rope_freqs.weight */
  readonly ropeDivisors?: readonly number[];
}

/** From GGUF metadata (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), general.architecture llama. */
export function configFromGguf(
  metadata: ReadonlyMap<string, GgufValue>,
  facts: GgufFacts,
  where = "GGUF metadata",
): LlamaConfig {
  const architecture = metadata.get("general.architecture");
  if (architecture !== "llama")
    throw new BadInputError(`${where}: general.architecture is ${show(architecture)}; templora runs "llama"`);
  const size = (key: string, fallback?: number): number =>
    asInteger(metadata.get(key) ?? fallback, `${where}: ${key}`, 1, MAX_SIZE);
  const id = (key: string): number[] =>
    metadata.has(key) ? [tokenId(metadata.get(key), `${where}: ${key}`)] : [];
  const heads = size("llama.attention.head_count");
  const hidden = size("llama.embedding_length");
  const head_dim = size("llama.attention.key_length", hidden / heads);
  const positions = size("llama.context_length");
  const tokens = metadata.get("tokenizer.ggml.tokens");
  for (const key of ["llama.rope.dimension_count", "llama.attention.value_length"])
    if (size(key, head_dim) !== head_dim)
      throw new BadInputError(
        `${where}: ${key} is ${show(metadata.get(key))}, but heads are ${head_dim} wide; only equal is supported`,
      );
  if ((metadata.get("llama.expert_count") ?? 0) !== 0)
    throw new BadInputError(
      `${where}: a mixture of experts (llama.expert_count); templora runs dense Llama models`,
    );
  return checked(
    {
      vocab_size: size("llama.vocab_size", Array.isArray(tokens) ? tokens.length : undefined),
      hidden_size: hidden,
      intermediate_size: size("llama.feed_forward_length"),
      num_hidden_layers: asInteger(
        metadata.get("llama.block_count"),
        `${where}: llama.block_count`,
        1,
        MAX_LAYERS,
      ),
      num_attention_heads: heads,
      num_key_value_heads: size("llama.attention.head_count_kv", heads),
      head_dim,
      rms_norm_eps: asPositive(
        metadata.get("llama.attention.layer_norm_rms_epsilon"),
        `${where}: llama.attention.layer_norm_rms_epsilon`,
      ),
      rope_theta: asPositive(metadata.get("llama.rope.freq_base") ?? 10000, `${where}: llama.rope.freq_base`),
      rope_scaling: ggufRopeScaling(metadata, facts, head_dim, positions, where),
      max_position_embeddings: positions,
      tie_word_embeddings: facts.tied,
      bos_token_id: id("tokenizer.ggml.bos_token_id")[0] ?? null,
      eos_token_ids: [
        ...new Set([
          ...id("tokenizer.ggml.eos_token_id"),
          ...id("tokenizer.ggml.eot_token_id"),
          ...id("tokenizer.ggml.eom_token_id"),
        ]),
      ],
    },
    where,
  );
}

function ggufRopeScaling(
  metadata: ReadonlyMap<string, GgufValue>,
  { ropeDivisors }: GgufFacts,
  head_dim: number,
  positions: number,
  where: string,
): RopeScaling | null {
  const get = (key: string): GgufValue | undefined => metadata.get(`llama.rope.scaling.${key}`);
  // scale_linear is the older spelling of a linear factor
  const legacy = metadata.get("llama.rope.scale_linear");
  const type = get("type") ?? (legacy === undefined ? "none" : "linear");
  const factor = (): number => asPositive(get("factor") ?? legacy, `${where}: llama.rope.scaling.factor`);
  if (ropeDivisors !== undefined) {
    if (type !== "none")
      throw new BadInputError(
        `${where}: both rope_freqs.weight and RoPE scaling ${show(type)}; expected one`,
      );
    if (ropeDivisors.length !== head_dim / 2 || !ropeDivisors.every((d) => Number.isFinite(d) && d > 0))
      throw new BadInputError(`${where}: rope_freqs.weight must hold ${head_dim / 2} numbers above 0`);
    return { type: "divisors", divisors: ropeDivisors };
  }
  switch (type) {
    case "none":
      return null;
    case "linear":
      return { type, factor: factor() };
    case "yarn":
      return ropeScaling(
        {
          type,
          factor: factor(),
          original_max_position_embeddings: get("original_context_length") ?? positions,
          // llama.cpp multiplies its own factor onto YaRN's
          attention_factor:
            yarnAttention(factor()) *
            asPositive(get("attn_factor") ?? 1, `${where}: llama.rope.scaling.attn_factor`),
          beta_fast: get("yarn_beta_fast"),
          beta_slow: get("yarn_beta_slow"),
        },
        positions,
        where,
      );
    default:
      throw new BadInputError(
        `${where}: llama.rope.scaling.type ${show(type)} is not supported; none, linear and yarn are`,
      );
  }
}
