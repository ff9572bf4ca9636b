/** A model's configuration, read from config.json or from GGUF metadata alike: each field has a name in both. */
import { BadInputError } from "../engine/errors.ts";
import { type LayerFacts, type ModelConfig, asLayers, asSize, checked, withLonger } from "./config.ts";
import { type FieldName, type KeySource, Keys } from "./keys.ts";
import type { LinearName } from "./layers.ts";
import type { RopeConfig } from "./rope.ts";
import { show } from "./untrusted.ts";

/** How RoPE is asked for. */
export interface RopeFields {
  readonly theta: FieldName;
  /** θ where the file has none. */
  readonly otherwise: number;
  /** The kind of layers, where the file may tell kinds apart (Gemma 3). */
  readonly of?: LayerKind;
  /** A scaling that the file gives for all kinds is not meant for these layers. */
  readonly unscaled?: boolean;
  /** The family knows heads of which a part turns. */
  readonly partial?: boolean;
}
export type BiasFlag = "attention_bias" | "mlp_bias";
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

export abstract class Fields extends Keys {
  abstract readonly kind: "config.json" | "GGUF";
  /** The file, for messages. */
  readonly where: string;

  constructor(source: KeySource, where: string) {
    super(source);
    this.where = where;
  }

  protected abstract vocabSize(): number;
  /** Whether the logits use the embedding matrix again; `otherwise`: where config.json does not say. */
  protected abstract tied(otherwise: boolean): boolean;
  protected abstract specialIds(): Pick<ModelConfig, "bos_token_id" | "eos_token_ids">;
  abstract rope(sizes: Sizes, fields: RopeFields): RopeConfig;
  /** The linear layers that have a bias: of those whose flag in config.json the family reads, or as a GGUF file's tensors say. */
  abstract biases(flags: readonly BiasFlag[]): LinearName[];

  /** `defaults`: of fields that config.json may leave out. */
  sizes(defaults: Partial<Sizes> = {}): Sizes {
    const heads = this.size(["num_attention_heads", "attention.head_count"]);
    const hidden = this.size(["hidden_size", "embedding_length"]);
    const json = { rms_norm_eps: 1e-6, max_position_embeddings: 2048, ...defaults };
    const others: Partial<Sizes> = this.kind === "GGUF" ? {} : json;
    const usual = others.head_dim ?? hidden / heads;
    const head_dim = this.get(["head_dim", "attention.key_length"], usual, asSize);
    if (!Number.isInteger(head_dim))
      throw new BadInputError(
        `${this.where}: no head_dim, and hidden_size ${hidden} is not a multiple of ${heads} heads`,
      );
    this.only([null, "attention.value_length"], [head_dim], `heads of one width, here ${head_dim}`);
    return {
      vocab_size: this.vocabSize(),
      hidden_size: hidden,
      intermediate_size: this.size(["intermediate_size", "feed_forward_length"]),
      num_hidden_layers: this.get(["num_hidden_layers", "block_count"], undefined, asLayers),
      num_attention_heads: heads,
      num_key_value_heads: this.size(
        ["num_key_value_heads", "attention.head_count_kv"],
        others.num_key_value_heads ?? heads,
      ),
      head_dim,
      rms_norm_eps: this.positive(["rms_norm_eps", "attention.layer_norm_rms_epsilon"], others.rms_norm_eps),
      max_position_embeddings: this.size(
        ["max_position_embeddings", "context_length"],
        others.max_position_embeddings,
      ),
    };
  }

  /** sliding_window where use_sliding_window turns it on, else 0. */
  switchedWindow(otherwise: number): number {
    const window = this.window(["sliding_window", null], otherwise);
    return this.flag(["use_sliding_window", null]) ? window : 0;
  }

  /** Each layer's window: `window` where layer_types says so or, if it is not there, `pattern`; else 0. */
  windows(sizes: Sizes, window: number, pattern: (layer: number) => boolean): number[] {
    const types = this.list(["layer_types", null], sizes.num_hidden_layers);
    return Array.from({ length: sizes.num_hidden_layers }, (_, i) => {
      const type = types ? types[i] : pattern(i) ? "sliding_attention" : "full_attention";
      if (type !== "sliding_attention" && type !== "full_attention")
        throw new BadInputError(
          `${this.where}: layer_types has ${show(type)}; templora runs full_attention and sliding_attention`,
        );
      if (types && type === "sliding_attention" && window === 0)
        throw new BadInputError(
          `${this.where}: layer_types has "sliding_attention", but there is no sliding_window in use`,
        );
      return type === "sliding_attention" ? window : 0;
    });
  }

  /** The configuration of these sizes and `others`. */
  config(sizes: Sizes, { layers, tied = false, ...others }: Others = {}): ModelConfig {
    const own = Array.from({ length: sizes.num_hidden_layers }, (_, i) => layers?.(i) ?? {});
    const usual: LayerFacts = {
      rope: own.every(({ rope }) => rope !== undefined)
        ? null
        : this.rope(sizes, { theta: ["rope_theta", "rope.freq_base"], otherwise: 10000 }),
      window: 0,
      attention_scale: 1 / Math.sqrt(sizes.head_dim),
      attn_logit_softcapping: 0,
      qk_norm: null,
      biases: [],
      hidden_act: "silu",
      residual_multiplier: 1,
    };
    const config = checked(
      {
        ...sizes,
        tie_word_embeddings: this.tied(tied),
        ...{ embedding_multiplier: 1, logits_multiplier: 1, final_logit_softcapping: 0, ...others },
        ...this.specialIds(),
        layers: own.map((some) => ({ ...usual, ...some })),
      },
      this.where,
    );
    return withLonger(config);
  }
}
