/**
 * Reads a tokenizer.json, which nobody vouches for. What is refused here would give other ids than the tokenizers library, or none.
 */
import { BadInputError } from "../engine/errors.ts";
import { STEPS, type Steps } from "../engine/turns.ts";
import { type AddedToken, AddedTokens } from "./added_tokens.ts";
import { MOST_MERGES, Merges } from "./bpe.ts";
import { decoderKind, pieceBytes } from "./pieces.ts";
import { asArray, asInteger, asObject, asString, quote, show, type Untrusted } from "./untrusted.ts";
import { type Place, type PreTokenizer, normalizerOf, preTokenizerOf } from "./words.ts";

export interface CheckedTokenizer {
  /** every id is below this */
  readonly size: number;
  /** The bytes an id stands for, if anything maps to it. */
  readonly piece: (id: number) => Uint8Array | undefined;
  /** added tokens by their spelling, and which ids are special */
  readonly added: ReadonlyMap<string, number>;
  readonly special: ReadonlySet<number>;
  /** Added tokens that are sought in the text as it is, and in normal text. */
  readonly inText: AddedTokens;
  readonly inNormal: AddedTokens;
  readonly anyAdded: AddedTokens;
  readonly normal: (text: string, place: Place) => string;
  readonly preTokenizer: PreTokenizer;
  readonly model: Model;
  /** ids put around every text */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  /** decoding drops the first space, which encoding had put there (sentencepiece) */
  readonly stripsFirstSpace: boolean;
}

/** Byte-pair encoding's tables. */
export interface Model {
  readonly vocab: ReadonlyMap<string, number>;
  readonly merges: Merges;
  /** A word that is a token is not merged. */
  readonly ignoreMerges: boolean;
  /** Ids of single bytes, for characters that are not in the vocabulary. */
  readonly byteIds: readonly number[] | null;
  /** Stands for what is not in the vocabulary; null = that is left out. */
  readonly unknown: number | null;
  /** Neighbouring unknown characters become one token. */
  readonly fusesUnknown: boolean;
}

const MAX_ID = 2 ** 24;

/** `value`: the parsed tokenizer.json. Its vocabulary may be a map, its merges ids of left, right and both, one after the other. */
export function* checkTokenizer(value: unknown, source: string): Steps<CheckedTokenizer> {
  const json = asObject(value, source);
  const config = asObject(json["model"], `${source}: model`);
  if ((config["type"] ?? "BPE") !== "BPE")
    throw new BadInputError(`${source}: model type ${show(config["type"])}; templora reads BPE tokenizers`);
  const byId: (string | undefined)[] = [];
  const claim = (id: number, token: string): void => {
    if (byId[id] !== undefined && byId[id] !== token)
      throw new BadInputError(`${source}: id ${id} belongs to both ${quote(byId[id])} and ${quote(token)}`);
    byId[id] = token;
  };
  const vocab = new Map<string, number>();
  const given = config["vocab"];
  const listed = given instanceof Map ? {} : asObject(given, `${source}: model.vocab`);
  for (const token of given instanceof Map ? (given.keys() as Iterable<string>) : Object.keys(listed)) {
    const value: unknown = given instanceof Map ? given.get(token) : listed[token];
    const id = asInteger(value, `${source}: id of ${quote(token)}`, 0, MAX_ID);
    claim(id, token);
    vocab.set(token, id);
    if (vocab.size % STEPS === 0) yield;
  }
  const normal = normalizerOf(json["normalizer"], source);
  const addedTokens = asArray(json["added_tokens"] ?? [], `${source}: added_tokens`).map((token, i) =>
    addedToken(token, `${source}: added_tokens[${i}]`),
  );
  for (const { id, spelling } of addedTokens) {
    claim(id, spelling);
    if ((vocab.get(spelling) ?? id) !== id)
      throw new BadInputError(`${source}: ${quote(spelling)} has the ids ${vocab.get(spelling)} and ${id}`);
  }
  const added = new Map(addedTokens.map(({ spelling, id }) => [spelling, id]));
  const inNormal = addedTokens
    .filter(({ normalized }) => normalized)
    .map((token) => ({ ...token, spelling: normal(token.spelling, ALONE) }));
  const decoder = decoderKind(json["decoder"], source);
  const normalSpellings = new Map(inNormal.map(({ id, spelling }) => [id, spelling]));
  const piece = (id: number): Uint8Array | undefined => {
    const token = normalSpellings.get(id) ?? byId[id];
    const isText = token !== undefined && !normalSpellings.has(id) && added.has(token);
    return token === undefined ? undefined : pieceBytes(token, isText ? "text" : decoder.pieces);
  };
  return {
    size: byId.length,
    piece,
    added,
    special: new Set(addedTokens.filter(({ special }) => special).map(({ id }) => id)),
    inText: new AddedTokens(addedTokens.filter(({ normalized }) => !normalized)),
    inNormal: new AddedTokens(inNormal),
    anyAdded: new AddedTokens(addedTokens),
    ...{ normal, model: yield* modelOf(config, vocab, source) },
    preTokenizer: preTokenizerOf(json["pre_tokenizer"], normal(" ", INSIDE), source),
    ...around(json["post_processor"], (token) => added.get(token) ?? vocab.get(token), source),
    stripsFirstSpace: decoder.stripsFirstSpace,
  };
}

const INSIDE: Place = { first: false, continued: true };
const ALONE: Place = { first: true, continued: false };

function addedToken(value: unknown, where: string): AddedToken & { readonly normalized: boolean } {
  const token = asObject(value, where);
  const spelling = asString(token["content"], `${where}: content`);
  const id = asInteger(token["id"], `${where}: id of ${quote(spelling)}`, 0, MAX_ID);
  if (spelling === "") throw new BadInputError(`${where}: added token ${id} is empty`);
  const is = (key: string): boolean => token[key] === true;
  const rules = { lstrip: is("lstrip"), rstrip: is("rstrip"), single_word: is("single_word") };
  return { id, spelling, ...rules, special: is("special"), normalized: is("normalized") };
}

function* modelOf(config: Untrusted, vocab: ReadonlyMap<string, number>, source: string): Steps<Model> {
  for (const [key, without] of [
    ["continuing_subword_prefix", ""],
    ["end_of_word_suffix", ""],
    ["dropout", 0],
  ] as const)
    if ((config[key] ?? without) !== without)
      throw new BadInputError(
        `${source}: model.${key} is ${show(config[key])}; templora reads BPE without it`,
      );
  const unknown = config["unk_token"] ?? null;
  const byteIds = Array.from({ length: 256 }, (_, byte) => vocab.get(byteToken(byte)) ?? -1);
  const fallback = config["byte_fallback"] === true && byteIds.some((id) => id >= 0);
  if (fallback && byteIds.includes(-1))
    throw new BadInputError(
      `${source}: byte_fallback, but ${byteToken(byteIds.indexOf(-1))} is not in the vocabulary`,
    );
  const idOf = (token: string, where: string): number => {
    const id = vocab.get(token);
    if (id === undefined) throw new BadInputError(`${where}: ${quote(token)} is not in the vocabulary`);
    return id;
  };
  return {
    vocab,
    merges: yield* Merges.from(yield* mergesOf(config["merges"], idOf, source)),
    ignoreMerges: config["ignore_merges"] === true,
    byteIds: fallback ? byteIds : null,
    unknown:
      unknown === null
        ? null
        : idOf(asString(unknown, `${source}: model.unk_token`), `${source}: model.unk_token`),
    fusesUnknown: config["fuse_unk"] === true,
  };
}

const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;

/** Merges as ids of left, right, and both; older files have "a b" in one string. */
function* mergesOf(
  value: unknown,
  idOf: (token: string, where: string) => number,
  source: string,
): Steps<Int32Array> {
  const merges = value instanceof Int32Array ? [] : asArray(value, `${source}: model.merges`);
  const ids = value instanceof Int32Array ? value : new Int32Array(3 * merges.length);
  if (ids.length > 3 * MOST_MERGES)
    throw new BadInputError(
      `${source}: model.merges has ${ids.length / 3} entries; at most ${MOST_MERGES} are read`,
    );
  for (const [i, merge] of merges.entries()) {
    const where = `${source}: model.merges[${i}]`;
    const [a, b, ...more] = typeof merge === "string" ? merge.split(" ") : asArray(merge, where);
    if (more.length > 0) throw new BadInputError(`${where}: ${show(merge)} is not a pair`);
    const [left, right] = [asString(a, where), asString(b, where)];
    ids.set([idOf(left, where), idOf(right, where), idOf(left + right, where)], 3 * i);
    if (i % STEPS === 0) yield;
  }
  return ids;
}

/** What the post-processor puts around a text. */
function around(
  value: unknown,
  idOf: (token: string) => number | undefined,
  source: string,
): { readonly prefix: number[]; readonly suffix: number[] } {
  const sides = { prefix: [] as number[], suffix: [] as number[] };
  if ((value ?? null) === null) return sides;
  const where = `${source}: post_processor`;
  const config = asObject(value, where);
  if (config["type"] === "Sequence")
    for (const part of asArray(config["processors"], `${where}.processors`)) {
      const { prefix, suffix } = around(part, idOf, source);
      sides.prefix.unshift(...prefix);
      sides.suffix.push(...suffix);
    }
  else if (config["type"] === "TemplateProcessing") {
    const ids = asObject(config["special_tokens"] ?? {}, `${where}.special_tokens`);
    let side = sides.prefix;
    for (const part of asArray(config["single"], `${where}.single`)) {
      const { SpecialToken } = asObject(part, `${where}.single`);
      if (SpecialToken === undefined) {
        side = sides.suffix;
        continue;
      }
      const token = asString(asObject(SpecialToken, `${where}.single`)["id"], `${where}.single`);
      const known =
        ids[token] === undefined ? idOf(token) : asObject(ids[token], `${where}: ${quote(token)}`)["ids"];
      if (known === undefined) throw new BadInputError(`${where}: ${quote(token)} is not in the vocabulary`);
      for (const id of Array.isArray(known) ? known : [known])
        side.push(asInteger(id, `${where}: id of ${quote(token)}`, 0, MAX_ID));
    }
  } else if (config["type"] !== "ByteLevel")
    // which changes offsets only
    throw new BadInputError(`${where}: type ${show(config["type"])} is not supported`);
  return sides;
}
