/** The list of families: one line each; and which of them a file belongs to. */
import { BadInputError } from "../../engine/errors.ts";
import type { ModelConfig } from "../config.ts";
import type { Family } from "../family.ts";
import type { Fields } from "../fields.ts";
import { type GgufFacts, GgufFields } from "../fields_gguf.ts";
import { JsonFields } from "../fields_json.ts";
import type { GgufValue } from "../gguf.ts";
import { unread } from "../unread.ts";
import { asObject, show } from "../untrusted.ts";
import { gemma2, gemma3 } from "./gemma.ts";
import { granite } from "./granite.ts";
import { llama, mistral } from "./llama.ts";
import { olmo2 } from "./olmo2.ts";
import { phi3 } from "./phi3.ts";
import { qwen2, qwen3 } from "./qwen.ts";
import { smollm3 } from "./smollm3.ts";

export const families: readonly Family[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  gemma2,
  gemma3,
  granite,
  olmo2,
  smollm3,
  phi3,
];

interface Described {
  readonly family: Family;
  readonly config: ModelConfig;
}

/** From the parsed config.json of a Hugging Face model folder. */
export function describeFolder(json: unknown, where = "config.json"): Described {
  const fields = asObject(json, where);
  return described("model_type", fields["model_type"], new JsonFields(fields, where));
}

/** From GGUF metadata (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
export function describeGguf(
  metadata: ReadonlyMap<string, GgufValue>,
  facts: GgufFacts,
  where = "GGUF metadata",
): Described {
  const name = metadata.get("general.architecture");
  return described("architecture", name, new GgufFields(metadata, String(name), facts, where));
}

function described(key: "model_type" | "architecture", name: unknown, fields: Fields): Described {
  const family = families.find((one) => one[key] === name && one[key] !== null);
  if (!family) {
    const known = families.flatMap((one) => one[key] ?? []).join(", ");
    const field = key === "model_type" ? key : `general.${key}`;
    throw new BadInputError(`${fields.where}: ${field} is ${show(name)}; templora runs ${known}`);
  }
  const config = family.config(fields);
  fields.refuseRest(`the family ${family.model_type}`, unread);
  return { family, config };
}
