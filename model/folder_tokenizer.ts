/**
 * The tokenizer of a Hugging Face folder: tokenizer.json, and what other files say beside it. Special tokens are named in
 * tokenizer_config.json (special_tokens_map.json in older folders), the ends of a text in generation_config.json as well.
 */
import { join } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { type Steps, Turns } from "../engine/turns.ts";
import { type ModelConfig, asTokenIds } from "./config.ts";
import { whatIs } from "./file.ts";
import { readJson } from "./json_file.ts";
import { readText } from "./text.ts";
import { Tokenizer } from "./tokenizer.ts";
import { type Untrusted, asObject } from "./untrusted.ts";

const MAX_BYTES = 2 ** 28;

export type SpecialIds = Pick<ModelConfig, "bos_token_id" | "eos_token_ids" | "vocab_size">;

export async function folderTokenizer(folder: string, config: SpecialIds): Promise<Tokenizer> {
  const at = (name: string): string => join(folder, name);
  const read = async (name: string): Promise<Untrusted> =>
    asObject(await readJson(at(name), MAX_BYTES), at(name));
  const optional = async (name: string): Promise<Untrusted> =>
    (await whatIs(at(name))) === "file" ? read(name) : {};
  // newer folders keep the template in a file of its own
  const apart = (await whatIs(at("chat_template.jinja"))) === "file";
  const template = apart ? { chat_template: await readText(at("chat_template.jinja")) } : {};
  const settings = {
    ...(await optional("special_tokens_map.json")),
    ...(await optional("tokenizer_config.json")),
    ...template,
  };
  const generation = await optional("generation_config.json");
  const generated = asTokenIds(generation["eos_token_id"], `${at("generation_config.json")}: eos_token_id`);
  for (const id of generated)
    if (id >= config.vocab_size)
      throw new BadInputError(
        `${at("generation_config.json")}: eos_token_id ${id} is outside the vocabulary of ${config.vocab_size}`,
      );
  const eos_token_ids = [...config.eos_token_ids, ...generated];
  const making = tokenizerFromHuggingFace(
    await read("tokenizer.json"),
    settings,
    { ...config, eos_token_ids },
    at("tokenizer.json"),
    at(apart ? "chat_template.jinja" : "tokenizer_config.json"),
  );
  return new Turns().run(making);
}

/** From the parsed tokenizer.json and tokenizer_config.json. */
export function tokenizerFromHuggingFace(
  json: unknown,
  settings: Untrusted,
  config: Pick<ModelConfig, "bos_token_id" | "eos_token_ids">,
  source: string,
  templateSource = source,
): Steps<Tokenizer> {
  return Tokenizer.from(json, {
    bosId: config.bos_token_id,
    eosIds: config.eos_token_ids,
    specialTokens: specialTokens(settings),
    chatTemplate: chatTemplate(settings["chat_template"], templateSource),
    templateSource,
    source,
  });
}

/** bos_token, eos_token, pad_token and their like: each its spelling, or an object with it. */
function specialTokens(settings: Untrusted): Record<string, string> {
  const spelled = Object.entries(settings).map(([name, token]): [string, unknown] => [
    name,
    typeof token === "object" && token !== null && "content" in token ? token.content : token,
  ]);
  return Object.fromEntries(
    spelled.filter(
      (entry): entry is [string, string] => /^[a-z]+_token$/.test(entry[0]) && typeof entry[1] === "string",
    ),
  );
}

/** A template, or several under names: then the one for plain conversations. */
function chatTemplate(value: unknown, source: string): string | undefined {
  const template = Array.isArray(value)
    ? value
        .map((entry) => asObject(entry, `${source}: chat_template`))
        .find(({ name }) => name === "default")?.["template"]
    : value;
  return typeof template === "string" ? template : undefined;
}
