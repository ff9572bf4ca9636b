/** The list of families: one line each; and which of them a file belongs to. */
import { BadInputError } from "../../engine/errors.ts";
import type { ModelConfig } from "../config.ts";
import type { Family, GgufFacts } from "../family.ts";
import type { GgufValue } from "../gguf.ts";
import { asObject, show } from "../untrusted.ts";
import { llama } from "./llama.ts";

export const families: readonly Family[] = [llama];

interface Described {
  readonly family: Family;
  readonly config: ModelConfig;
}

/** From the parsed config.json of a Hugging Face model folder. */
export function describeFolder(json: unknown, where = "config.json"): Described {
  const fields = asObject(json, where);
  const { model_type } = fields;
  const family = families.find((one) => one.model_type === model_type);
  if (!family)
    throw new BadInputError(
      `${where}: model_type is ${show(model_type)}; templora runs ${families.map((one) => one.model_type).join(", ")}`,
    );
  return { family, config: family.fromConfig(fields, where) };
}

/** From GGUF metadata (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
export function describeGguf(
  metadata: ReadonlyMap<string, GgufValue>,
  facts: GgufFacts,
  where = "GGUF metadata",
): Described {
  const architecture = metadata.get("general.architecture");
  const family = families.find((one) => one.architecture === architecture);
  if (!family)
    throw new BadInputError(
      `${where}: general.architecture is ${show(architecture)}; templora runs ${families.map((one) => one.architecture).join(", ")}`,
    );
  return { family, config: family.fromGguf(metadata, facts, where) };
}
