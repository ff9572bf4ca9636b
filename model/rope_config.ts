/** How config.json and GGUF metadata say that RoPE's frequencies are stretched; what is not known is refused, never ignored. */
import { BadInputError } from "../engine/errors.ts";
import type { FieldName, Keys } from "./keys.ts";
import type { RopeConfig, RopeScaling } from "./rope.ts";
import { asArray, asPositive, asPositiveF32, show } from "./untrusted.ts";

const FACTOR: FieldName = ["factor", "rope.scaling.factor"];

/** What RoPE's scaling depends on beside its own keys. */
export interface RopeSizes {
  /** Dimensions of a head that turn. */
  readonly rotary_dim: number;
  /** Positions that the model was first trained on, where RoPE's keys do not say. */
  readonly positions: number;
  /** Positions that it serves. */
  readonly max_position_embeddings: number;
}

/** The part of a head that turns, where it is not all of it. */
export function turning(rotary_dim: number, head_dim: number, where: string): Pick<RopeConfig, "rotary_dim"> {
  if (rotary_dim === head_dim) return {};
  if (rotary_dim < 2 || rotary_dim > head_dim || rotary_dim % 2 !== 0)
    throw new BadInputError(
      `${where}: ${rotary_dim} of a head's ${head_dim} dimensions turn; expected an even number of at least 2`,
    );
  return { rotary_dim };
}

/** From rope_parameters (transformers 5) or rope_scaling. */
export function ropeScaling(rope: Keys, sizes: RopeSizes): RopeScaling | null {
  const { positions } = sizes;
  const [type, older] = [rope.find(["rope_type", null]), rope.find(["type", null])];
  const { value = "default", where } = type.value === undefined ? older : type;
  switch (value) {
    case "default":
      return null;
    case "linear":
      return { type: value, factor: rope.positive(FACTOR) };
    case "llama3": {
      const [low, high] = [
        rope.positive(["low_freq_factor", null]),
        rope.positive(["high_freq_factor", null]),
      ];
      if (high <= low)
        throw new BadInputError(`${where}: high_freq_factor ${high} must be above low_freq_factor ${low}`);
      return {
        type: value,
        factor: rope.positive(FACTOR),
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: originalPositions(rope, positions),
      };
    }
    case "yarn": {
      const factor = rope.positive(FACTOR);
      const [mscale, allDims] = (["mscale", "mscale_all_dim"] as const).map((key) =>
        rope.get([key, null], 0, (x, at) => (x === 0 ? 0 : asPositive(x, at))),
      );
      // DeepSeek's quotient of two
      const usual =
        mscale && allDims
          ? yarnAttention(factor, mscale) / yarnAttention(factor, allDims)
          : yarnAttention(factor);
      return yarn(rope, factor, positions, rope.positive(["attention_factor", null], usual));
    }
    case "longrope":
    case "su": // as older files of Phi-3 call it
      return longrope(rope, sizes, (key) => {
        const found = rope.find([key, null]);
        return divisorsOf(asArray(found.value, found.where), sizes.rotary_dim, found.where);
      });
    default:
      throw new BadInputError(
        `${where}: ${show(value)} is not supported; default, linear, llama3, yarn and longrope are`,
      );
  }
}

/** Divisors of RoPE's frequencies in the tensors of a GGUF file. */
export interface RopeTensors {
  /** rope_freqs.weight */
  readonly divisors?: readonly number[];
  /** rope_factors_short.weight and rope_factors_long.weight, of LongRoPE */
  readonly short?: readonly number[];
  readonly long?: readonly number[];
}

/** From the keys rope.scaling.…, and from the file's divisors. */
export function ggufRopeScaling(
  keys: Keys,
  { divisors, short, long }: RopeTensors,
  sizes: RopeSizes,
): RopeScaling | null {
  const { positions } = sizes;
  const given = keys.find(FACTOR);
  const older = keys.find([null, "rope.scale_linear"]);
  const { value: type, where } = keys.find([null, "rope.scaling.type"]);
  // as llama.cpp reads them: the older spelling serves where the newer is missing, and without a type positions are divided
  const value = type ?? (given.value === undefined && older.value === undefined ? "none" : "linear");
  const factor = (): number => asPositive(given.value ?? older.value, given.where);
  if (divisors !== undefined || short !== undefined || long !== undefined) {
    const named = (tensor: string, list: readonly number[] = []): number[] =>
      divisorsOf(list, sizes.rotary_dim, `${where}: ${tensor}`);
    const tensor = divisors ? "rope_freqs.weight" : "rope_factors_short.weight";
    if (value !== "none" && value !== "longrope")
      throw new BadInputError(`${where}: both ${tensor} and RoPE scaling ${show(value)}; expected one`);
    if (divisors) return { type: "divisors", divisors: named(tensor, divisors) };
    return longrope(keys, sizes, (name) =>
      name === "short_factor" ? named(tensor, short) : named("rope_factors_long.weight", long),
    );
  }
  switch (value) {
    case "none":
      return null;
    case "linear":
      return { type: "linear", factor: factor() };
    case "yarn": {
      // llama.cpp multiplies its own factor onto YaRN's
      const attention = yarnAttention(factor()) * keys.positive([null, "rope.scaling.attn_factor"], 1);
      return yarn(keys, factor(), positions, attention);
    }
    default:
      throw new BadInputError(`${where}: ${show(value)} is not supported; none, linear and yarn are`);
  }
}

function yarn(keys: Keys, factor: number, positions: number, attention_factor: number): RopeScaling {
  return {
    type: "yarn",
    factor,
    original_max_position_embeddings: originalPositions(keys, positions),
    attention_factor,
    beta_fast: keys.positive(["beta_fast", "rope.scaling.yarn_beta_fast"], 32),
    beta_slow: keys.positive(["beta_slow", "rope.scaling.yarn_beta_slow"], 1),
    truncate: keys.flag(["truncate", null], true),
  };
}

/** `divisors`: the list of a name, checked. */
function longrope(
  keys: Keys,
  { positions, max_position_embeddings }: RopeSizes,
  divisors: (name: "short_factor" | "long_factor") => readonly number[],
): RopeScaling {
  const original = originalPositions(keys, positions);
  const factor = keys.positive(["factor", null], max_position_embeddings / original);
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  return {
    type: "longrope",
    divisors: divisors("short_factor"),
    longer: divisors("long_factor"),
    attention_factor: keys.positive(["attention_factor", "rope.scaling.attn_factor"], usual),
    original_max_position_embeddings: original,
  };
}

function divisorsOf(list: readonly unknown[], rotary_dim: number, where: string): number[] {
  if (list.length !== rotary_dim / 2)
    throw new BadInputError(`${where} has ${list.length} entries for ${rotary_dim / 2} frequencies`);
  return list.map((value, i) => asPositiveF32(value, `${where}[${i}]`));
}

function originalPositions(keys: Keys, otherwise: number): number {
  return keys.size(["original_max_position_embeddings", "rope.scaling.original_context_length"], otherwise);
}

/** YaRN's attention factor where none is given: 0.1 m ln(factor) + 1. */
export function yarnAttention(factor: number, m = 1): number {
  return factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1;
}
