/**
 * Checks a tokenizer.json before @huggingface/tokenizers sees it: the library trusts its input, and passes over parts it
 * does not implement. What is refused here would silently give other ids than the original tokenizers library.
 */
import { BadInputError } from "../engine/errors.ts";
import { asArray, asInteger, asObject, asString, quote, show, type Untrusted } from "./untrusted.ts";

export interface CheckedTokenizer {
  /** fit for the library */
  readonly json: Untrusted;
  /** the bytes each id stands for; ids that nothing maps to are holes */
  readonly pieces: readonly (Uint8Array | undefined)[];
  /** added tokens by their spelling, and which ids are special */
  readonly added: ReadonlyMap<string, number>;
  readonly special: ReadonlySet<number>;
  /** splits a text at its added tokens, keeping them; undefined if only the library can do it */
  readonly separator: RegExp | undefined;
  /** for sentencepiece, which has no words: where a text can be cut, since no token has a space inside */
  readonly wordBreak: RegExp | undefined;
  /** decoding drops the first space, which encoding had put there (sentencepiece) */
  readonly stripsFirstSpace: boolean;
}

const MAX_ID = 2 ** 24;

/** GPT-2's split into words; the library's own copy uses JavaScript's \s, which differs from Unicode's White_Space. */
export const GPT2_WORDS = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

export function checkTokenizer(value: unknown, source: string): CheckedTokenizer {
  const json = asObject(value, source);
  const model = asObject(json["model"], `${source}: model`);
  if ((model["type"] ?? "BPE") !== "BPE")
    throw new BadInputError(`${source}: model type ${show(model["type"])}; templora reads BPE tokenizers`);
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix"])
    if ((model[key] ?? "") !== "")
      throw new BadInputError(
        `${source}: model.${key} is ${show(model[key])}; templora reads BPE without it`,
      );
  const byId: (string | undefined)[] = [];
  const claim = (id: number, token: string): void => {
    if (byId[id] !== undefined && byId[id] !== token)
      throw new BadInputError(`${source}: id ${id} belongs to both ${quote(byId[id])} and ${quote(token)}`);
    byId[id] = token;
  };
  for (const [token, id] of Object.entries(asObject(model["vocab"], `${source}: model.vocab`)))
    claim(asInteger(id, `${source}: id of ${quote(token)}`, 0, MAX_ID), token);

  const addedTokens = asArray(json["added_tokens"] ?? [], `${source}: added_tokens`).map((token, i) =>
    asObject(token, `${source}: added_tokens[${i}]`),
  );
  const added = new Map<string, number>();
  const special = new Set<number>();
  for (const token of addedTokens) {
    const content = asString(token["content"], `${source}: content of an added token`);
    const id = asInteger(token["id"], `${source}: id of ${quote(content)}`, 0, MAX_ID);
    if (content === "") throw new BadInputError(`${source}: added token ${id} is empty`);
    if (token["single_word"] === true)
      throw new BadInputError(
        `${source}: added token ${quote(content)} is single_word, which is not supported`,
      );
    claim(id, content);
    added.set(content, id);
    if (token["special"] === true) special.add(id);
  }
  const decoder = decoderKind(json["decoder"], source);
  const normalizer = json["normalizer"] ?? null;
  const plain = addedTokens.every(
    (token) =>
      token["lstrip"] !== true &&
      token["rstrip"] !== true &&
      (normalizer === null || token["normalized"] === false || token["special"] === true),
  );
  // Runs of unknown characters become one token, so words cannot be merged one by one.
  const fuses = model["fuse_unk"] === true && model["byte_fallback"] !== true;
  return {
    json: {
      ...json,
      added_tokens: addedTokens,
      normalizer,
      post_processor: json["post_processor"] ?? null,
      pre_tokenizer:
        (json["pre_tokenizer"] ?? null) === null ? null : splitter(json["pre_tokenizer"], source),
      model: { ...model, type: "BPE", merges: mergePairs(model["merges"], new Set(byId), source) },
    },
    // Array.from makes holes undefined, where map would skip them
    pieces: Array.from(byId, (token) =>
      token === undefined ? undefined : pieceBytes(token, added.has(token) ? "text" : decoder.pieces),
    ),
    added,
    special,
    separator: plain && !fuses ? separatorOf([...added.keys()]) : undefined,
    wordBreak:
      decoder.pieces === "sentencepiece" && !byId.some((token) => token !== undefined && /[^▁]▁/u.test(token))
        ? /(?<=[^▁])(?=▁)/u
        : undefined,
    stripsFirstSpace: decoder.stripsFirstSpace,
  };
}

/** Merges as pairs; older files have "a b" in one string. */
function mergePairs(
  value: unknown,
  tokens: ReadonlySet<string | undefined>,
  source: string,
): [string, string][] {
  return asArray(value, `${source}: model.merges`).map((merge, i) => {
    const where = `${source}: model.merges[${i}]`;
    const [a, b, ...more] = typeof merge === "string" ? merge.split(" ") : asArray(merge, where);
    if (more.length > 0) throw new BadInputError(`${where}: ${show(merge)} is not a pair`);
    const [left, right] = [asString(a, where), asString(b, where)];
    if (!tokens.has(left + right))
      throw new BadInputError(`${where}: ${quote(left + right)} is not in the vocabulary`);
    return [left, right];
  });
}

/** Longest first, as a trie would find them; a group, so that split keeps what it splits at. */
function separatorOf(spellings: readonly string[]): RegExp {
  if (spellings.length === 0) return /(?!)/u;
  const longestFirst = [...spellings].sort((a, b) => b.length - a.length);
  return new RegExp(`(${longestFirst.map((s) => s.replace(/[$()*+.?[\\\]^{|}]/g, "\\$&")).join("|")})`);
}

/** A pre-tokenizer that the library carries out exactly, or an error. */
function splitter(value: unknown, source: string): Untrusted {
  const where = `${source}: pre_tokenizer`;
  const config = asObject(value, where);
  const isolate = (regex: string): Untrusted => ({
    type: "Split",
    pattern: { Regex: regex },
    behavior: "Isolated",
    invert: false,
  });
  const sequence = (pretokenizers: readonly Untrusted[]): Untrusted => ({ type: "Sequence", pretokenizers });
  switch (config["type"]) {
    case "Sequence":
      return sequence(
        asArray(config["pretokenizers"], `${where}.pretokenizers`).map((part) => splitter(part, source)),
      );
    case "ByteLevel":
      if (config["use_regex"] === false || config["add_prefix_space"] === true) return config;
      return sequence([isolate(GPT2_WORDS), { ...config, use_regex: false }]);
    case "Digits": // Rust's is_numeric is \p{N}; the library's \d is 0-9
      return isolate(config["individual_digits"] === true ? String.raw`\p{N}` : String.raw`\p{N}+`);
    case "Split": {
      const behavior = asString(config["behavior"], `${where}.behavior`);
      if (behavior !== "Isolated" && behavior !== "Removed")
        throw new BadInputError(`${where}: Split with behavior ${quote(behavior)} is not supported`);
      return config;
    }
    case "Metaspace":
      if (config["split"] !== false)
        throw new BadInputError(`${where}: Metaspace that splits is not supported`);
      return config;
    default:
      throw new BadInputError(`${where}: type ${show(config["type"])} is not supported`);
  }
}

type PieceKind = "byte level" | "sentencepiece" | "text";

/** Which of the two families of decoders this is; both are tables of bytes. */
function decoderKind(value: unknown, source: string): { pieces: PieceKind; stripsFirstSpace: boolean } {
  const where = `${source}: decoder`;
  const config = asObject(value, where);
  const parts =
    config["type"] === "Sequence"
      ? asArray(config["decoders"], `${where}.decoders`).map((part) => asObject(part, where))
      : [config];
  const types = parts.map((part) => show(part["type"])).join(" ");
  if (types === '"ByteLevel"') return { pieces: "byte level", stripsFirstSpace: false };
  if (types === '"Metaspace"') return { pieces: "sentencepiece", stripsFirstSpace: true };
  // Llama 2: Replace ▁ by a space, ByteFallback, Fuse, and mostly Strip
  if (/^"Replace" "ByteFallback" "Fuse"( "Strip")?$/.test(types))
    return { pieces: "sentencepiece", stripsFirstSpace: parts.length === 4 };
  throw new BadInputError(
    `${where}: ${quote(types)} is not supported; ByteLevel and sentencepiece decoders are`,
  );
}

/** GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 and on, in order. */
const BYTE_OF: ReadonlyMap<string, number> = new Map(
  (() => {
    let next = 0x100;
    return Array.from({ length: 256 }, (_, byte): [string, number] => {
      const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
      return [String.fromCharCode(printable ? byte : next++), byte];
    });
  })(),
);

function pieceBytes(token: string, kind: PieceKind): Uint8Array {
  switch (kind) {
    case "byte level": {
      const bytes = Array.from(token, (char) => BYTE_OF.get(char) ?? -1);
      if (!bytes.includes(-1)) return Uint8Array.from(bytes);
      break;
    }
    case "sentencepiece": {
      const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
      if (byte !== undefined) return Uint8Array.of(parseInt(byte, 16));
      return new TextEncoder().encode(token.replaceAll("▁", " "));
    }
    case "text":
      break;
  }
  return new TextEncoder().encode(token);
}
