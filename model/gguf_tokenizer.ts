/**
 * GGUF's tokenizer metadata in the terms of tokenizer.json. Two kinds: "gpt2", byte-level BPE with its merges listed and
 * its split into words named by tokenizer.ggml.pre (the regexes are llama.cpp's, src/llama-vocab.cpp); and "llama",
 * sentencepiece BPE, where merges follow from the scores as in transformers' conversion
 * (src/transformers/convert_slow_tokenizer.py, generate_merges).
 */
import { at } from "../kernels/base/at.ts";
import { BadInputError } from "../engine/errors.ts";
import { STEPS, type Steps } from "../engine/turns.ts";
import type { GgufValue } from "./gguf.ts";
import { Tokenizer } from "./tokenizer.ts";
import { GPT2_WORDS } from "./words.ts";
import { asArray, asInteger, asString, asStrings, quote, show, type Untrusted } from "./untrusted.ts";

/** Token types (llama.h). */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

const CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
/** Words of upper and lower case letters, with one character before them. */
const CASED = [
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`,
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`,
];
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
/** As in Llama 3 and in Qwen, which differ in the digits of a word. */
const words = (digits: string): string =>
  String.raw`${CONTRACTION}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${SPACES}`;
/** As in Mistral's Tekken and in GPT-4o. */
const casedWords = (digits: string, ending: string): string =>
  String.raw`${CASED.map((word) => word + ending).join("|")}|${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${SPACES}`;

interface WordSplit {
  /** applied one after the other */
  readonly regexes: readonly string[];
  /** a word that is a token is not merged */
  readonly ignoreMerges: boolean;
  /** what tokenizer.ggml.add_bos_token is when missing */
  readonly addBos: boolean;
  /** Letters and their marks are composed first, as the models' own tokenizer.json says, though llama.cpp does not. */
  readonly composes?: boolean;
}
const GPT2: WordSplit = { regexes: [GPT2_WORDS], ignoreMerges: false, addBos: false };
const SINGLE_DIGITS: WordSplit = { ...GPT2, regexes: [String.raw`\p{N}`, GPT2_WORDS] };
const TO_THREE_DIGITS: WordSplit = { ...GPT2, regexes: [words(String.raw`\p{N}{1,3}`)] };
const LLAMA3: WordSplit = { ...TO_THREE_DIGITS, ignoreMerges: true, addBos: true };
const QWEN2: WordSplit = { ...GPT2, regexes: [words(String.raw`\p{N}`)], composes: true };
const TEKKEN: WordSplit = { ...GPT2, regexes: [casedWords(String.raw`\p{N}`, "")], ignoreMerges: true };
const GPT4O: WordSplit = { ...GPT2, regexes: [casedWords(String.raw`\p{N}{1,3}`, `${CONTRACTION}?`)] };
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
  ["dbrx", TO_THREE_DIGITS],
  ["smaug-bpe", TO_THREE_DIGITS],
  ["qwen2", QWEN2],
  ["deepseek-r1-qwen", QWEN2],
  ["tekken", TEKKEN],
  ["gpt-4o", GPT4O],
]);

type Metadata = ReadonlyMap<string, GgufValue>;

/** The tokenizer in a GGUF file's metadata. `ids`: what the configuration read as begin and end of text. */
export function* tokenizerFromGguf(
  metadata: Metadata,
  ids: { readonly bosId: number | null; readonly eosIds: readonly number[] },
  source: string,
): Steps<Tokenizer> {
  const where = `${source}: tokenizer.ggml`;
  const tokens = asStrings(metadata.get("tokenizer.ggml.tokens"), `${where}.tokens`);
  const vocab = yield* vocabulary(tokens, where);
  const kind = metadata.get("tokenizer.ggml.model");
  if (kind !== "gpt2" && kind !== "llama")
    throw new BadInputError(`${where}.model: ${show(kind)} is not supported; gpt2 and llama are`);
  const { addBos, ...parts } =
    kind === "gpt2" ? byteLevel(metadata, vocab, where) : yield* sentencepiece(metadata, vocab, where);
  const around = (key: string, id: number | null | undefined, fallback: boolean): string[] =>
    (metadata.get(`tokenizer.ggml.${key}`) ?? fallback) === true && id !== null && id !== undefined
      ? [tokens[id] ?? ""]
      : [];
  const template = metadata.get("tokenizer.chat_template");
  return yield* Tokenizer.from(
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

/** Ids by their tokens, in order. */
type Vocabulary = ReadonlyMap<string, number>;

function* vocabulary(tokens: readonly string[], where: string): Steps<Vocabulary> {
  const vocab = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    if (vocab.has(token)) throw new BadInputError(`${where}.tokens: ${quote(token)} is there twice`);
    vocab.set(token, id);
    if (id % STEPS === 0) yield;
  }
  return vocab;
}

function byteLevel(metadata: Metadata, vocab: Vocabulary, where: string): Parts {
  const pre = metadata.get("tokenizer.ggml.pre");
  const split = pre === undefined ? undefined : WORD_SPLITS.get(pre);
  if (!split)
    throw new BadInputError(
      `${where}.pre: ${show(pre)} is not supported; ${[...WORD_SPLITS.keys()].join(", ")} are. Use the model's Hugging Face folder.`,
    );
  return {
    addBos: split.addBos,
    normalizer: split.composes === true ? { type: "NFC" } : null,
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
      vocab,
      merges: metadata.get("tokenizer.ggml.merges"),
      ignore_merges: split.ignoreMerges,
    },
  };
}

function* sentencepiece(metadata: Metadata, vocab: Vocabulary, where: string): Steps<Parts> {
  const scores = asArray(metadata.get("tokenizer.ggml.scores"), `${where}.scores`);
  if (scores.length !== vocab.size || !scores.every((score) => typeof score === "number"))
    throw new BadInputError(`${where}.scores: expected ${vocab.size} numbers, one for each token`);
  const unknown = asInteger(
    metadata.get("tokenizer.ggml.unknown_token_id") ?? 0,
    `${where}.unknown_token_id`,
    0,
    vocab.size - 1,
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
      vocab,
      merges: yield* mergesFromScores(vocab, scores, where),
      byte_fallback: true,
      fuse_unk: true,
      unk_token: [...vocab.keys()][unknown],
    },
  };
}

/** Longest token that merges are sought for; sentencepiece's own default is 16 characters. */
const LONGEST = 256;

/**
 * Every way to make a token out of two, as ids of left, right and both: the best-scored token first, of equal ones the longest
 * left part, then the longest right one.
 */
function* mergesFromScores(vocab: Vocabulary, scores: readonly unknown[], where: string): Steps<Int32Array> {
  const tokens = [...vocab.keys()];
  const score = (id: number): number => Number(scores[id]);
  const bestFirst = [...tokens.keys()].sort((a, b) => score(b) - score(a));
  const merges: number[] = [];
  const equals: Way[] = [];
  const takeEquals = (): void => {
    equals.sort((a, b) => b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1]);
    for (const { ids } of equals.splice(0)) merges.push(...ids);
  };
  for (const [i, id] of bestFirst.entries()) {
    const token = at(tokens, id);
    if (i > 0 && score(id) !== score(at(bestFirst, i - 1))) takeEquals();
    equals.push(...waysToMake(token, id, vocab, where));
    if (i % STEPS === 0) yield;
  }
  takeEquals();
  return Int32Array.from(merges);
}

interface Way {
  readonly ids: readonly [left: number, right: number, made: number];
  /** in characters */
  readonly lengths: readonly [left: number, right: number];
}

function* waysToMake(token: string, made: number, vocab: Vocabulary, where: string): Generator<Way> {
  const chars = [...token];
  if (chars.length > LONGEST)
    throw new BadInputError(`${where}.tokens: ${quote(token)} has more than ${LONGEST} characters`);
  let cut = 0;
  for (let i = 1; i < chars.length; i++) {
    cut += at(chars, i - 1).length;
    const [left, right] = [vocab.get(token.slice(0, cut)), vocab.get(token.slice(cut))];
    if (left !== undefined && right !== undefined)
      yield { ids: [left, right, made], lengths: [i, chars.length - i] };
  }
}

/** Tokens that are matched in the text as they are spelled: control tokens and the user's own. */
function addedTokens(metadata: Metadata, tokens: readonly string[], where: string): Untrusted[] {
  const types = asArray(metadata.get("tokenizer.ggml.token_type") ?? [], `${where}.token_type`);
  return tokens.flatMap((content, id) => {
    const special = types[id] === CONTROL || types[id] === UNKNOWN;
    return special || types[id] === USER_DEFINED ? [{ id, content, special, normalized: false }] : [];
  });
}
