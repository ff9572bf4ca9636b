/** A model's configuration as config.json of a Hugging Face folder has it, in the spellings of transformers 4 and 5. */
import { BadInputError } from "../engine/errors.ts";
import { type ModelConfig, asSize, asTokenId, asTokenIds } from "./config.ts";
import { type BiasFlag, Fields, type LayerKind, type RopeFields, type Sizes } from "./fields.ts";
import { type KeySource, Keys } from "./keys.ts";
import type { LinearName } from "./layers.ts";
import type { RopeConfig } from "./rope.ts";
import { ropeScaling, turning } from "./rope_config.ts";
import { ropeUnread } from "./unread.ts";
import { type Untrusted, asObject, plain, show } from "./untrusted.ts";

/**
 * What a key's name must tell for it to be refused though nobody knows it. Others are left alone, as transformers does: config.json
 * also holds what trainers, tokenizers and hosts put there.
 */
const TELLING =
  /rope|rotary|yarn|alibi|att(n|ention)|window|causal|soft_?cap|multiplier|scal(e|ing)|bias|expert|qk_norm/i;

/** The keys of an object. `prefix`: before a key in messages; `concerns`: see {@link KeySource}. */
export function objectKeys(object: Untrusted, prefix: string, concerns: (key: string) => boolean): KeySource {
  return {
    nameOf: ([json]) => json,
    lookUp: (key) => object[key],
    present: () => Object.keys(object),
    spell: (key) => `${prefix}${key}`,
    concerns,
  };
}

export class JsonFields extends Fields {
  readonly kind = "config.json";

  constructor(fields: Untrusted, where: string) {
    super(
      objectKeys(fields, `${where}: `, (key) => TELLING.test(key)),
      where,
    );
  }

  protected vocabSize(): number {
    return this.size(["vocab_size", null]);
  }

  protected tied(otherwise: boolean): boolean {
    return this.flag(["tie_word_embeddings", null], otherwise);
  }

  protected specialIds(): Pick<ModelConfig, "bos_token_id" | "eos_token_ids"> {
    const bos = this.find(["bos_token_id", null]);
    const eos = this.find(["eos_token_id", null]);
    return {
      bos_token_id: bos.value === undefined ? null : asTokenId(bos.value, bos.where),
      eos_token_ids: asTokenIds(eos.value, eos.where),
    };
  }

  biases(flags: readonly BiasFlag[]): LinearName[] {
    return flags.filter((flag) => this.flag([flag, null])).flatMap((flag) => BIASED[flag]);
  }

  /** RoPE's parameters: of all layers, or by their kind (`of`) in a family that tells kinds apart. */
  rope(
    { head_dim, max_position_embeddings }: Sizes,
    { theta, otherwise, of, unscaled, partial = false }: RopeFields,
  ): RopeConfig {
    const [given, place] = this.#ropeObject();
    const nested = of !== undefined && place === "rope_parameters";
    const stray =
      nested && Object.keys(given).find((key) => !layerKinds.includes(key) && given[key] !== null);
    if (stray)
      throw new BadInputError(
        `${this.where}: rope_parameters.${plain(stray)}: expected ${layerKinds.join(" and ")}, each with its own`,
      );
    const [own, where] = nested ? [given[of] ?? {}, `${place}.${of}`] : [unscaled ? {} : given, place];
    const rope = new Keys(
      objectKeys(asObject(own, `${this.where}: ${where}`), `${this.where}: ${where}.`, () => true),
    );
    const inner = rope.find(original);
    const outer = nested ? inner : this.find(original);
    if (inner.value !== undefined && outer.value !== undefined && inner.value !== outer.value)
      throw new BadInputError(
        `${outer.where} is ${show(outer.value)}, but rope_parameters says ${show(inner.value)}; expected one`,
      );
    const positions = outer.value === undefined ? max_position_embeddings : asSize(outer.value, outer.where);
    const rope_theta = rope.positive(["rope_theta", null], this.positive(theta, otherwise));
    const part = ["partial_rotary_factor", null] as const;
    if (!partial) rope.only(part, [1], "models whose heads turn whole");
    const factor = partial ? rope.positive(part, this.positive(part, 1)) : 1;
    const rotary_dim = Math.floor(factor * head_dim);
    const rope_scaling = ropeScaling(rope, { rotary_dim, positions, max_position_embeddings });
    rope.refuseRest(`RoPE of type ${show(rope_scaling?.type ?? "default")}`, ropeUnread);
    return { head_dim, ...turning(rotary_dim, head_dim, rope.find(part).where), rope_theta, rope_scaling };
  }

  /**
   * transformers 5 keeps all of RoPE in rope_parameters; before, rope_theta stood alone and rope_scaling beside it. Where both are
   * there, transformers 5 takes rope_scaling and leaves the other out, so that what they share must be the same.
   */
  #ropeObject(): [Untrusted, "rope_parameters" | "rope_scaling"] {
    const both = (["rope_parameters", "rope_scaling"] as const).map((key) => {
      const { value, where } = this.find([key, null]);
      return value === undefined ? {} : asObject(value, where);
    });
    const [parameters = {}, scaling = {}] = both;
    if (Object.keys(scaling).length === 0) return [parameters, "rope_parameters"];
    for (const [key, value] of Object.entries(parameters))
      if (value !== null && value !== (scaling[key] ?? this.find([key, null]).value))
        throw new BadInputError(
          `${this.where}: rope_parameters.${plain(key)} is ${show(value)}, of which rope_scaling says otherwise; keep one of the two`,
        );
    return [scaling, "rope_scaling"];
  }
}

const original = ["original_max_position_embeddings", null] as const;
const layerKinds: readonly string[] = ["full_attention", "sliding_attention"] satisfies LayerKind[];

const BIASED: Readonly<Record<BiasFlag, readonly LinearName[]>> = {
  attention_bias: ["q_proj", "k_proj", "v_proj", "o_proj"],
  mlp_bias: ["gate_proj", "up_proj", "down_proj"],
};
