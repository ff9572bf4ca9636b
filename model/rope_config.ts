/** How config.json and GGUF metadata say that RoPE's frequencies are stretched; what is not known is refused, never ignored. */
import { BadInputError } from "../engine/errors.ts";
import { asSize } from "./config.ts";
import type { GgufValue } from "./gguf.ts";
import type { RopeScaling } from "./rope.ts";
import { asPositive, show, type Untrusted } from "./untrusted.ts";

/** From rope_parameters (transformers 5) or rope_scaling. */
export function ropeScaling(rope: Untrusted, positions: number, file: string): RopeScaling | null {
  const type = rope["rope_type"] ?? rope["type"] ?? "default";
  const where = `${file}: rope_scaling`;
  const number = (key: string): number => asPositive(rope[key], `${where}.${key}`);
  const original = (): number =>
    asSize(
      rope["original_max_position_embeddings"] ?? positions,
      `${where}.original_max_position_embeddings`,
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

/** From the keys <architecture>.rope.scaling.…, and from the divisors in rope_freqs.weight where a file has it. */
export function ggufRopeScaling(
  architecture: string,
  metadata: ReadonlyMap<string, GgufValue>,
  ropeDivisors: readonly number[] | undefined,
  head_dim: number,
  positions: number,
  where: string,
): RopeScaling | null {
  const get = (key: string): GgufValue | undefined => metadata.get(`${architecture}.rope.scaling.${key}`);
  // scale_linear is the older spelling of a linear factor
  const legacy = metadata.get(`${architecture}.rope.scale_linear`);
  // without a type, llama.cpp divides positions by the factor
  const type = get("type") ?? (get("factor") === undefined && legacy === undefined ? "none" : "linear");
  const factor = (): number =>
    asPositive(get("factor") ?? legacy, `${where}: ${architecture}.rope.scaling.factor`);
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
            asPositive(get("attn_factor") ?? 1, `${where}: ${architecture}.rope.scaling.attn_factor`),
          beta_fast: get("yarn_beta_fast"),
          beta_slow: get("yarn_beta_slow"),
        },
        positions,
        where,
      );
    default:
      throw new BadInputError(
        `${where}: ${architecture}.rope.scaling.type ${show(type)} is not supported; none, linear and yarn are`,
      );
  }
}
