/** A model's configuration as config.json of a Hugging Face folder has it, in the spellings of transformers 4 and 5. */
import { type ModelConfig, asTokenId } from "./config.ts";
import { type FieldName, Fields, type RopeFields, type Sizes } from "./fields.ts";
import type { LinearName } from "./layers.ts";
import type { RopeConfig } from "./rope.ts";
import { ropeScaling } from "./rope_config.ts";
import { type Untrusted, asObject, asPositiveF32 } from "./untrusted.ts";

export class JsonFields extends Fields {
  readonly kind = "config.json";
  readonly #fields: Untrusted;

  constructor(fields: Untrusted, where: string) {
    super(where);
    this.#fields = fields;
  }

  protected keyOf([json]: FieldName): string | null {
    return json;
  }

  protected lookUp(key: string): unknown {
    return this.#fields[key];
  }

  protected vocabSize(): number {
    return this.size(["vocab_size", null]);
  }

  protected tied(otherwise: boolean): boolean {
    return this.flag(["tie_word_embeddings", null], otherwise);
  }

  protected specialIds(): Pick<ModelConfig, "bos_token_id" | "eos_token_ids"> {
    const { bos_token_id: bos = null, eos_token_id: eos = null } = this.#fields;
    return {
      bos_token_id: bos === null ? null : asTokenId(bos, `${this.where}: bos_token_id`),
      eos_token_ids: (Array.isArray(eos) ? eos : eos === null ? [] : [eos]).map((id) =>
        asTokenId(id, `${this.where}: eos_token_id`),
      ),
    };
  }

  biases(): LinearName[] {
    const given = (key: string, names: readonly LinearName[]): readonly LinearName[] =>
      this.flag([key, null]) ? names : [];
    return [
      ...given("attention_bias", ["q_proj", "k_proj", "v_proj", "o_proj"]),
      ...given("mlp_bias", ["gate_proj", "up_proj", "down_proj"]),
    ];
  }

  /** transformers 5 keeps all of RoPE in rope_parameters; before, rope_theta stood alone and rope_scaling beside it. */
  rope(
    { head_dim, max_position_embeddings }: Sizes,
    { theta, otherwise, of, unscaled }: RopeFields,
  ): RopeConfig {
    const all = asObject(
      this.#fields["rope_parameters"] ?? this.#fields["rope_scaling"] ?? {},
      `${this.where}: rope_parameters`,
    );
    const own = of === undefined ? undefined : all[of];
    const rope =
      own === undefined ? (unscaled ? {} : all) : asObject(own, `${this.where}: rope_parameters.${of}`);
    return {
      head_dim,
      rope_theta: asPositiveF32(
        rope["rope_theta"] ?? this.#fields[theta[0] ?? ""] ?? otherwise,
        `${this.where}: ${theta[0]}`,
      ),
      rope_scaling: ropeScaling(rope, max_position_embeddings, this.where),
    };
  }
}
