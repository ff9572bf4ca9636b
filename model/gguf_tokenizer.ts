/**
 * GGUF's tokenizer metadata in the terms of tokenizer.json. Two kinds: "gpt2", byte-level BPE with its merges listed and
 * its split into words named by tokenizer.ggml.pre (the regexes are llama.cpp's, src/llama-vocab.cpp); and "llama",
 * sentencepiece BPE, where merges follow from the scores as in transformers' conversion
 * (src/transformers/convert_slow_tokenizer.py, generate_merges).
 */
import { BadInputError } from "../engine/errors.ts";
import type { GgufValue } from "./gguf.ts";
import { Tokenizer } from "./tokenizer.ts";
import { GPT2_WORDS } from "./words.ts";
import { asArray, asInteger, asString, asStrings, quote, show, type Untrusted } from "./untrusted.ts";

/** Token types (llama.h). */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

const LLAMA3_WORDS = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

interface WordSplit {
  /** applied one after the other */
  readonly regexes: readonly string[];
  /** a word that is a token is not merged */
  readonly ignoreMerges: boolean;
  /** what tokenizer.ggml.add_bos_token is when missing */
  readonly addBos: boolean;
}
const GPT2: WordSplit = { regexes: [GPT2_WORDS], ignoreMerges: false, addBos: false };
const SINGLE_DIGITS: WordSplit = { ...GPT2, regexes: [String.raw`\p{N}`, GPT2_WORDS] };
const LLAMA3: WordSplit = { regexes: [LLAMA3_WORDS], ignoreMerges: true, addBos: true };
const WORD_SPLITS: ReadonlyMap<GgufValue, WordSplit> = new Map([
  ["gpt-2", GPT2],
  ["smollm", SINGLE_DIGITS],
  ["starcoder", SINGLE_DIGITS],
  ["refact", SINGLE_DIGITS],
  ["codeshell", SINGLE_DIGITS],
  ["command-r", SINGLE_DIGITS],
  ["llama-bpe", LLAMA3],
  ["llama3", LLAMA3],
  ["llama-v3", LLAMA3],
]);

type Metadata = ReadonlyMap<string, GgufValue>;

/** The tokenizer in a GGUF file's metadata. `ids`: what the configuration read as begin and end of text. */
export function tokenizerFromGguf(
  metadata: Metadata,
  ids: { readonly bosId: number | null; readonly eosIds: readonly number[] },
  source: string,
): Tokenizer {
  const where = `${source}: tokenizer.ggml`;
  const tokens = asStrings(metadata.get("tokenizer.ggml.tokens"), `${where}.tokens`);
  const seen = new Set(tokens);
  if (seen.size !== tokens.length) {
    const twice = tokens.find((token) => !seen.delete(token)) ?? "";
    throw new BadInputError(`${where}.tokens: ${quote(twice)} is there twice`);
  }
  const kind = metadata.get("tokenizer.ggml.model");
  if (kind !== "gpt2" && kind !== "llama")
    throw new BadInputError(`${where}.model: ${show(kind)} is not supported; gpt2 and llama are`);
  const { addBos, ...parts } =
    kind === "gpt2" ? byteLevel(metadata, tokens, where) : sentencepiece(metadata, tokens, where);
  const around = (key: string, id: number | null | undefined, fallback: boolean): string[] =>
    (metadata.get(`tokenizer.ggml.${key}`) ?? fallback) === true && id !== null && id !== undefined
      ? [tokens[id] ?? ""]
      : [];
  const template = metadata.get("tokenizer.chat_template");
  return new Tokenizer(
    {
      ...parts,
      added_tokens: addedTokens(metadata, tokens, where),
      post_processor: {
        type: "TemplateProcessing",
        single: [
          ...around("add_bos_token", ids.bosId, addBos).map((id) => ({ SpecialToken: { id, type_id: 0 } })),
          { Sequence: { id: "A", type_id: 0 } },
          ...around("add_eos_token", ids.eosIds[0], false).map((id) => ({
            SpecialToken: { id, type_id: 0 },
          })),
        ],
      },
    },
    {
      ...ids,
      chatTemplate: template === undefined ? undefined : asString(template, `${source}: chat_template`),
      source,
    },
  );
}

interface Parts {
  readonly addBos: boolean;
  readonly normalizer: Untrusted | null;
  readonly pre_tokenizer: Untrusted | null;
  readonly decoder: Untrusted;
  readonly model: Untrusted;
}

const vocabulary = (tokens: readonly string[]): Untrusted =>
  Object.fromEntries(tokens.map((token, id) => [token, id]));

function byteLevel(metadata: Metadata, tokens: readonly string[], where: string): Parts {
  const pre = metadata.get("tokenizer.ggml.pre");
  const split = pre === undefined ? undefined : WORD_SPLITS.get(pre);
  if (!split)
    throw new BadInputError(
      `${where}.pre: ${show(pre)} is not supported; ${[...WORD_SPLITS.keys()].join(", ")} are. Use the model's Hugging Face folder.`,
    );
  return {
    addBos: split.addBos,
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        ...split.regexes.map((Regex) => ({
          type: "Split",
          pattern: { Regex },
          behavior: "Isolated",
          invert: false,
        })),
        { type: "ByteLevel", add_prefix_space: false, use_regex: false },
      ],
    },
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      vocab: vocabulary(tokens),
      merges: metadata.get("tokenizer.ggml.merges"),
      ignore_merges: split.ignoreMerges,
    },
  };
}

function sentencepiece(metadata: Metadata, tokens: readonly string[], where: string): Parts {
  const scores = asArray(metadata.get("tokenizer.ggml.scores"), `${where}.scores`);
  if (scores.length !== tokens.length || !scores.every((score) => typeof score === "number"))
    throw new BadInputError(`${where}.scores: expected ${tokens.length} numbers, one for each token`);
  const unknown = asInteger(
    metadata.get("tokenizer.ggml.unknown_token_id") ?? 0,
    `${where}.unknown_token_id`,
    0,
    tokens.length - 1,
  );
  const prefix = metadata.get("tokenizer.ggml.add_space_prefix") !== false;
  const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    addBos: true,
    normalizer: {
      type: "Sequence",
      normalizers: prefix ? [{ type: "Prepend", prepend: "▁" }, replace] : [replace],
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [strip] : []),
      ],
    },
    model: {
      type: "BPE",
      vocab: vocabulary(tokens),
      merges: mergesFromScores(tokens, scores, where),
      byte_fallback: true,
      fuse_unk: true,
      unk_token: tokens[unknown],
    },
  };
}

/** Longest token that merges are sought for; sentencepiece's own default is 16 characters. */
const LONGEST = 256;

/** Every way to make a token out of two, the best-scored token first. */
function mergesFromScores(
  tokens: readonly string[],
  scores: readonly number[],
  where: string,
): [string, string][] {
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const merges: { left: string; right: string; score: number; lengths: [number, number] }[] = [];
  tokens.forEach((token, id) => {
    const chars = [...token];
    if (chars.length > LONGEST)
      throw new BadInputError(`${where}.tokens: ${quote(token)} has more than ${LONGEST} characters`);
    const ways: typeof merges = [];
    for (let i = 1; i < chars.length; i++) {
      const [left, right] = [chars.slice(0, i).join(""), chars.slice(i).join("")];
      if (idOf.has(left) && idOf.has(right))
        ways.push({ left, right, score: scores[id] ?? 0, lengths: [i, chars.length - i] });
    }
    ways.sort((a, b) => (idOf.get(a.left) ?? 0) - (idOf.get(b.left) ?? 0));
    merges.push(...ways);
  });
  merges.sort((a, b) => b.score - a.score || b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1]);
  return merges.map(({ left, right }) => [left, right]);
}

/** Tokens that are matched in the text as they are spelled: control tokens and the user's own. */
function addedTokens(metadata: Metadata, tokens: readonly string[], where: string): Untrusted[] {
  const types = asArray(metadata.get("tokenizer.ggml.token_type") ?? [], `${where}.token_type`);
  return tokens.flatMap((content, id) => {
    const special = types[id] === CONTROL || types[id] === UNKNOWN;
    return special || types[id] === USER_DEFINED ? [{ id, content, special, normalized: false }] : [];
  });
}
