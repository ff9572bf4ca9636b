/**
 * RoPE stretched, without training, so that a model serves more positions than it was made for. Where layers look through windows
 * of their own and others at everything, the former keep their RoPE: no distance in them is new.
 */
import { BadInputError } from "../engine/errors.ts";
import { type ModelConfig, reachesFar, withLonger, withRopes } from "./config.ts";
import { objectKeys } from "./fields_json.ts";
import { Keys } from "./keys.ts";
import { type RopeConfig, ntkTheta } from "./rope.ts";
import { ropeScaling, yarnAttention } from "./rope_config.ts";
import { asPositive } from "./untrusted.ts";

export type ExtensionMethod = "linear" | "ntk" | "dynamic-ntk" | "yarn" | "llama3";

export type Extension = ByFactor | ByDivisors;

export interface ByFactor {
  readonly method: ExtensionMethod;
  /** Times the positions that the model was made for. */
  readonly factor: number;
}

/** LongRoPE (arXiv 2402.13753): divisors of the frequencies that were searched for one model, as transformers has them in `rope_scaling` */
export interface ByDivisors {
  readonly method: "longrope";
  readonly factor: number;
  /** A divisor for each frequency, where a run stays within the model's own positions. */
  readonly short_factor: readonly number[];
  /** The same for runs beyond them. */
  readonly long_factor: readonly number[];
  /** Left out, sqrt(1 + ln factor / ln positions). */
  readonly attention_factor?: number;
  /** Where they come from, for what is said about them. */
  readonly file?: string;
}

/** As many times a model's positions are none that any method serves. */
export const MOST_TIMES = 1000;

interface Sizes {
  readonly factor: number;
  readonly original_max_position_embeddings: number;
}

/** What each method makes of a model's frequencies. */
const methods: Readonly<Record<ExtensionMethod, (rope: RopeConfig, sizes: Sizes) => RopeConfig>> = {
  /** Position interpolation, https://arxiv.org/abs/2306.15595 */
  linear: (rope, { factor }) => ({ ...rope, rope_scaling: { type: "linear", factor } }),
  /** Slow frequencies are stretched most: "NTK-aware", https://arxiv.org/abs/2309.00071, section 3.1 */
  ntk: (rope, { factor }) => ({ ...rope, rope_theta: ntkTheta(rope, factor) }),
  /** The same by what the run's longest sequence takes (transformers: a pass's; keys in a cache would not match) */
  "dynamic-ntk": (rope, sizes) => ({
    ...rope,
    rope_scaling: {
      type: "dynamic",
      ...sizes,
      positions: sizes.factor * sizes.original_max_position_embeddings,
    },
  }),
  /** https://arxiv.org/abs/2309.00071 */
  yarn: (rope, sizes) => ({
    ...rope,
    rope_scaling: {
      ...{ type: "yarn", ...sizes, attention_factor: yarnAttention(sizes.factor) },
      ...{ beta_fast: 32, beta_slow: 1, truncate: true },
    },
  }),
  /** As Llama 3.1 was extended */
  llama3: (rope, sizes) => ({
    ...rope,
    rope_scaling: { type: "llama3", ...sizes, low_freq_factor: 1, high_freq_factor: 4 },
  }),
};

export const extensionMethods = Object.keys(methods) as readonly ExtensionMethod[];

/** The configuration of a model for `factor` times its positions. */
export function extended(config: ModelConfig, extension: Extension): ModelConfig {
  const { max_position_embeddings: original_max_position_embeddings, layers } = config;
  const stretched = layers.find(({ rope }) => rope !== null && rope.rope_scaling !== null);
  if (stretched)
    throw new BadInputError(
      `the model's RoPE is stretched as it is (${stretched.rope?.rope_scaling?.type}), which no method goes on top of`,
    );
  const reaches = reachesFar(config);
  const where = (extension.method === "longrope" ? extension.file : undefined) ?? extension.method;
  const factor = asPositive(extension.factor, `${where}: factor`);
  if (factor < 1 || factor > MOST_TIMES)
    throw new BadInputError(
      `${where}: factor ${factor}: expected a number, at least 1 and at most ${MOST_TIMES}`,
    );
  const max_position_embeddings = Math.floor(factor * original_max_position_embeddings);
  const stretch = (rope: RopeConfig): RopeConfig => {
    if (extension.method !== "longrope")
      return methods[extension.method](rope, { factor, original_max_position_embeddings });
    const { method, file: _, ...own } = extension;
    const keys = new Keys(objectKeys({ ...own, rope_type: method }, `${where}: `, () => true));
    const sizes = { rotary_dim: rope.rotary_dim ?? rope.head_dim, max_position_embeddings };
    const rope_scaling = ropeScaling(keys, { ...sizes, positions: original_max_position_embeddings });
    keys.refuseRest("RoPE", []);
    return { ...rope, rope_scaling };
  };
  const longer = withRopes(config, (rope, layer) => (reaches(layer) ? stretch(rope) : rope));
  return withLonger({ ...longer, max_position_embeddings });
}
