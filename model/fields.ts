/**
 * A model's configuration, read from config.json or from GGUF metadata alike: each field has a name in both. Files are not trusted:
 * whatever is not of the type asked for is one error that names the file and the field.
 */
import { BadInputError } from "../engine/errors.ts";
import { capRange } from "../kernels/shared/soft_cap.ts";
import { MAX_SIZE, type LayerFacts, type ModelConfig, asLayers, asSize, checked } from "./config.ts";
import type { LinearName } from "./layers.ts";
import type { RopeConfig } from "./rope.ts";
import { asArray, asBoolean, asInteger, asPositive, asPositiveF32, show } from "./untrusted.ts";

/** A field's name in config.json, and in GGUF less the architecture before it; null = that kind of file does not have it. */
export type FieldName = readonly [json: string | null, gguf: string | null];

/** How RoPE is asked for. */
export interface RopeFields {
  readonly theta: FieldName;
  /** θ where the file has none. */
  readonly otherwise: number;
  /** The kind of layers, where the file may tell kinds apart (Gemma 3). */
  readonly of?: LayerKind;
  /** A scaling that the file gives for all kinds is not meant for these layers. */
  readonly unscaled?: boolean;
}
export type LayerKind = "full_attention" | "sliding_attention";

/** What nearly every family has under the same names. */
export type Sizes = Pick<
  ModelConfig,
  | "vocab_size"
  | "hidden_size"
  | "intermediate_size"
  | "num_hidden_layers"
  | "num_attention_heads"
  | "num_key_value_heads"
  | "head_dim"
  | "rms_norm_eps"
  | "max_position_embeddings"
>;

/** What a family may have beside its sizes; left out, it is as in Llama. */
export type Others = Partial<
  Pick<ModelConfig, "embedding_multiplier" | "logits_multiplier" | "final_logit_softcapping">
> & {
  /** tie_word_embeddings where config.json does not say. */
  readonly tied?: boolean;
  /** What layer `i` computes differently. */
  readonly layers?: (i: number) => Partial<LayerFacts>;
};

export abstract class Fields {
  abstract readonly kind: "config.json" | "GGUF";
  /** The file, for messages. */
  readonly where: string;

  constructor(where: string) {
    this.where = where;
  }

  /** A field's full name in this kind of file; null = it has no such field. */
  protected abstract keyOf(name: FieldName): string | null;
  /** Undefined where the file does not have the key. */
  protected abstract lookUp(key: string): unknown;
  protected abstract vocabSize(): number;
  /** Whether the logits use the embedding matrix again; `otherwise`: where config.json does not say. */
  protected abstract tied(otherwise: boolean): boolean;
  protected abstract specialIds(): Pick<ModelConfig, "bos_token_id" | "eos_token_ids">;
  abstract rope(sizes: Sizes, fields: RopeFields): RopeConfig;
  /** The linear layers that have a bias, as attention_bias and mlp_bias say, or a GGUF file's tensors. */
  abstract biases(): LinearName[];

  #find(name: FieldName): { value: unknown; where: string } {
    const key = this.keyOf(name);
    return {
      value: key === null ? undefined : this.lookUp(key),
      where: `${this.where}: ${key ?? name.find(Boolean)}`,
    };
  }

  /** The field as `as` reads it; `otherwise` where it is not there or null. */
  #get<T>(name: FieldName, otherwise: T | undefined, as: (value: unknown, where: string) => T): T {
    const { value = null, where } = this.#find(name);
    return value === null && otherwise !== undefined ? otherwise : as(value ?? undefined, where);
  }

  /** A size or count of at least 1. */
  size(name: FieldName, otherwise?: number): number {
    return this.#get(name, otherwise, asSize);
  }

  /** A number above 0. */
  positive(name: FieldName, otherwise?: number): number {
    return this.#get(name, otherwise, asPositiveF32);
  }

  /** A window in tokens; null in the file turns it off, which is 0 here. */
  window(name: FieldName, otherwise: number): number {
    return this.#find(name).value === null ? 0 : this.#get(name, otherwise, asSize);
  }

  /** A soft cap; null in the file turns it off, which is 0 here. */
  cap(name: FieldName, otherwise: number): number {
    if (this.#find(name).value === null) return 0;
    return this.#get(name, otherwise, (value, where) => {
      const cap = asPositive(value, where);
      const [least, most] = capRange();
      if (cap < least || cap > most)
        throw new BadInputError(`${where}: expected a number from 2^-40 to 2^40, got ${show(value)}`);
      return cap;
    });
  }

  /** A whole number of at least 0. */
  count(name: FieldName, otherwise: number): number {
    return this.#get(name, otherwise, (value, where) => asInteger(value, where, 0, MAX_SIZE));
  }

  /** True or false. */
  flag(name: FieldName, otherwise = false): boolean {
    return this.#get(name, otherwise, asBoolean);
  }

  /** The field's list, with an entry for each layer, or null where it is not there. */
  perLayer({ num_hidden_layers: count }: Sizes, name: FieldName): readonly unknown[] | null {
    const { value = null, where } = this.#find(name);
    if (value === null) return null;
    const list = asArray(value, where);
    if (list.length !== count)
      throw new BadInputError(`${where} has ${list.length} entries for ${count} layers`);
    return list;
  }

  /** Refuses a field that is there and is none of `values`; `runs`: what is supported, for the message. */
  only(name: FieldName, values: readonly unknown[], runs: string): void {
    const { value = null, where } = this.#find(name);
    if (value !== null && !values.includes(value))
      throw new BadInputError(`${where} is ${show(value)}; templora runs ${runs}`);
  }

  /** `defaults`: of fields that config.json may leave out. */
  sizes(defaults: Partial<Sizes> = {}): Sizes {
    const heads = this.size(["num_attention_heads", "attention.head_count"]);
    const hidden = this.size(["hidden_size", "embedding_length"]);
    const json = { rms_norm_eps: 1e-6, max_position_embeddings: 2048, ...defaults };
    const others: Partial<Sizes> = this.kind === "GGUF" ? {} : json;
    const usual = others.head_dim ?? hidden / heads;
    const head_dim = this.#get(["head_dim", "attention.key_length"], usual, asSize);
    if (!Number.isInteger(head_dim))
      throw new BadInputError(
        `${this.where}: no head_dim, and hidden_size ${hidden} is not a multiple of ${heads} heads`,
      );
    for (const key of ["attention.value_length", "rope.dimension_count"])
      this.only([null, key], [head_dim], `heads of one width, here ${head_dim}`);
    this.only(["partial_rotary_factor", null], [1], "models whose heads turn whole");
    this.only(["quantization_config", null], [], "plain float weights");
    this.only([null, "expert_count"], [0], "dense models, no mixture of experts");
    return {
      vocab_size: this.vocabSize(),
      hidden_size: hidden,
      intermediate_size: this.size(["intermediate_size", "feed_forward_length"]),
      num_hidden_layers: this.#get(["num_hidden_layers", "block_count"], undefined, asLayers),
      num_attention_heads: heads,
      num_key_value_heads: this.size(["num_key_value_heads", "attention.head_count_kv"], heads),
      head_dim,
      rms_norm_eps: this.positive(["rms_norm_eps", "attention.layer_norm_rms_epsilon"], others.rms_norm_eps),
      max_position_embeddings: this.size(
        ["max_position_embeddings", "context_length"],
        others.max_position_embeddings,
      ),
    };
  }

  /** Each layer's window: `window` where layer_types says so or, if it is not there, `pattern`; else 0. */
  windows(sizes: Sizes, window: number, pattern: (layer: number) => boolean): number[] {
    const types = this.perLayer(sizes, ["layer_types", null]);
    return Array.from({ length: sizes.num_hidden_layers }, (_, i) => {
      const type = types ? types[i] : pattern(i) ? "sliding_attention" : "full_attention";
      if (type !== "sliding_attention" && type !== "full_attention")
        throw new BadInputError(
          `${this.where}: layer_types has ${show(type)}; templora runs full_attention and sliding_attention`,
        );
      if (types && type === "sliding_attention" && window === 0)
        throw new BadInputError(
          `${this.where}: layer_types has "sliding_attention", but there is no sliding_window`,
        );
      return type === "sliding_attention" ? window : 0;
    });
  }

  /** The configuration of these sizes and `others`. */
  config(sizes: Sizes, { layers, tied = false, ...others }: Others = {}): ModelConfig {
    const usual: LayerFacts = {
      rope: this.rope(sizes, { theta: ["rope_theta", "rope.freq_base"], otherwise: 10000 }),
      window: 0,
      attention_scale: 1 / Math.sqrt(sizes.head_dim),
      attn_logit_softcapping: 0,
      qk_norm: null,
      biases: [],
      hidden_act: "silu",
      residual_multiplier: 1,
    };
    return checked(
      {
        ...sizes,
        tie_word_embeddings: this.tied(tied),
        ...{ embedding_multiplier: 1, logits_multiplier: 1, final_logit_softcapping: 0, ...others },
        ...this.specialIds(),
        layers: Array.from({ length: sizes.num_hidden_layers }, (_, i) => ({ ...usual, ...layers?.(i) })),
      },
      this.where,
    );
  }
}
