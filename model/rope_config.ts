/** How config.json and GGUF metadata say that RoPE's frequencies are stretched; what is not known is refused, never ignored. */
import { BadInputError } from "../engine/errors.ts";
import type { FieldName, Keys } from "./keys.ts";
import type { RopeScaling } from "./rope.ts";
import { asPositive, show } from "./untrusted.ts";

const FACTOR: FieldName = ["factor", "rope.scaling.factor"];

/** From rope_parameters (transformers 5) or rope_scaling. `positions`: where it does not say what the model was made for. */
export function ropeScaling(rope: Keys, positions: number): RopeScaling | null {
  rope.only(["partial_rotary_factor", null], [1], "models whose heads turn whole");
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
    default:
      throw new BadInputError(
        `${where}: ${show(value)} is not supported; default, linear, llama3 and yarn are`,
      );
  }
}

/** From the keys rope.scaling.…, and from the divisors in rope_freqs.weight where a file has it. */
export function ggufRopeScaling(
  keys: Keys,
  divisors: readonly number[] | undefined,
  head_dim: number,
  positions: number,
): RopeScaling | null {
  const given = keys.find(FACTOR);
  const older = keys.find([null, "rope.scale_linear"]);
  const { value: type, where } = keys.find([null, "rope.scaling.type"]);
  // as llama.cpp reads them: the older spelling serves where the newer is missing, and without a type positions are divided
  const value = type ?? (given.value === undefined && older.value === undefined ? "none" : "linear");
  const factor = (): number => asPositive(given.value ?? older.value, given.where);
  if (divisors !== undefined) {
    if (value !== "none")
      throw new BadInputError(
        `${where}: both rope_freqs.weight and RoPE scaling ${show(value)}; expected one`,
      );
    if (divisors.length !== head_dim / 2 || !divisors.every((d) => Number.isFinite(d) && d > 0))
      throw new BadInputError(`${where}: rope_freqs.weight must hold ${head_dim / 2} numbers above 0`);
    return { type: "divisors", divisors };
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

function originalPositions(keys: Keys, otherwise: number): number {
  return keys.size(["original_max_position_embeddings", "rope.scaling.original_context_length"], otherwise);
}

/** YaRN's attention factor where the file gives none: 0.1 m ln(factor) + 1. */
function yarnAttention(factor: number, m = 1): number {
  return factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1;
}
