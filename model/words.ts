/**
 * What happens to a text before its words are merged: the normalizer and the pre-tokenizer of tokenizer.json. Only such parts are
 * accepted as are proven to give what the tokenizers library gives (test/tokenizer_parts.test.ts); any other is refused by its name.
 */
import { BadInputError } from "../engine/errors.ts";
import { type Untrusted, asArray, asObject, asString, show } from "./untrusted.ts";
import { matchesAll, wordPattern } from "./word_patterns.ts";

/** Where a piece of text stands. */
export interface Place {
  /** It begins the text. */
  readonly first: boolean;
  /** It goes on from a piece before, with no added token between. */
  readonly continued: boolean;
}

type Step = (text: string, place: Place) => string;

/** A normalizer. */
export function normalizerOf(value: unknown, source: string): Step {
  if (value === null || value === undefined) return (text) => text;
  const where = `${source}: normalizer`;
  const config = asObject(value, where);
  switch (config["type"]) {
    case "Sequence": {
      const steps = asArray(config["normalizers"], `${where}.normalizers`).map((part) =>
        normalizerOf(part, source),
      );
      return (text, place) => steps.reduce((done, step) => step(done, place), text);
    }
    case "NFC":
      return (text) => text.normalize("NFC");
    case "Prepend": {
      const prepended = asString(config["prepend"], `${where}.prepend`);
      return (text, { continued }) => (continued || text === "" ? text : prepended + text);
    }
    case "Replace": {
      const pattern = literal(config["pattern"], `${where}: Replace`);
      const content = asString(config["content"], `${where}.content`);
      return (text) => text.replaceAll(pattern, () => content);
    }
    default:
      throw new BadInputError(`${where}: type ${show(config["type"])} is not supported`);
  }
}

/** {"String": …}, as opposed to a regular expression. */
function literal(pattern: unknown, where: string): string {
  const text = asObject(pattern, `${where}: pattern`)["String"];
  if (typeof text !== "string" || text === "")
    throw new BadInputError(`${where} with pattern ${show(pattern)} is not supported`);
  return text;
}

type Split = (text: string, place: Place) => Iterable<string>;

export interface PreTokenizer {
  readonly words: Split;
  /** Words are then written in GPT-2's alphabet, a letter for each byte. */
  readonly bytes: boolean;
  /**
   * Where long texts may be cut: between a letter or digit and the space, line break or mark behind it, where splitting always
   * cuts; or between characters that no token has side by side, where nothing else cuts; or nowhere.
   */
  readonly cuts: "kinds" | "pairs" | "none";
}

/** `normal`: what a space becomes before it gets here. */
export function preTokenizerOf(value: unknown, normal: string, source: string): PreTokenizer {
  const where = `${source}: pre_tokenizer`;
  const parts = (value ?? null) === null ? [] : flatten(asObject(value, where), where);
  const splits: Split[] = [];
  const patterns: RegExp[] = [];
  let [bytes, prefixed] = [false, false];
  for (const part of parts) {
    if (bytes) throw new BadInputError(`${where}: ${show(part["type"])} behind ByteLevel is not supported`);
    const split = (pattern: RegExp, gaps = true): void => {
      patterns.push(pattern);
      splits.push((text) => isolated(text, pattern, gaps));
    };
    switch (part["type"]) {
      case "ByteLevel":
        bytes = true;
        if (part["add_prefix_space"] === true) {
          prefixed = splits.length > 0; // each word gets one
          splits.push((text, { continued }) => [continued || text.startsWith(" ") ? text : ` ${text}`]);
        }
        if (part["use_regex"] !== false) split(GPT2);
        break;
      case "Digits": // Rust's is_numeric is \p{N}
        split(part["individual_digits"] === true ? /\p{N}/gu : /\p{N}+/gu);
        break;
      case "Split": {
        const pattern = asObject(part["pattern"], `${where}: pattern of Split`);
        if (pattern["String"] === " " && normal !== " ") break; // there are none left
        const { behavior, invert = false } = part;
        if (behavior !== "Isolated" && !(behavior === "Removed" && invert === true))
          throw new BadInputError(
            `${where}: Split with behavior ${show(behavior)}${invert === true ? " and invert" : ""} is not supported`,
          );
        split(
          wordPattern(asString(pattern["Regex"], `${where}: Regex of Split`), where),
          behavior === "Isolated",
        );
        break;
      }
      case "Metaspace":
        splits.push(metaspace(part, where));
        break;
      default:
        throw new BadInputError(`${where}: type ${show(part["type"])} is not supported`);
    }
  }
  return {
    words: (text, place) => through(splits, text, place),
    bytes,
    cuts: prefixed
      ? "none"
      : patterns.some(matchesAll)
        ? "kinds"
        : patterns.length === 0 && !bytes
          ? "pairs"
          : "none",
  };
}

/** GPT-2's split into words, which ByteLevel has built in. */
export const GPT2_WORDS = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const GPT2 = wordPattern(GPT2_WORDS, "GPT-2");

/** The parts of a pre-tokenizer, in order. */
function flatten(config: Untrusted, where: string): Untrusted[] {
  if (config["type"] !== "Sequence") return [config];
  return asArray(config["pretokenizers"], `${where}.pretokenizers`).flatMap((part) =>
    flatten(asObject(part, where), where),
  );
}

/** Splits, applied one after the other. */
function through(splits: readonly Split[], text: string, place: Place): Iterable<string> {
  return splits.reduce((words: Iterable<string>, split) => each(words, split, place), [text]);
}

function* each(words: Iterable<string>, split: Split, place: Place): Generator<string> {
  let here = place;
  for (const word of words) {
    yield* split(word, here);
    here = { first: false, continued: false };
  }
}

/** What the pattern matches, and what is between, if `gaps`. */
function* isolated(text: string, pattern: RegExp, gaps: boolean): Generator<string> {
  let end = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (gaps && index > end) yield text.slice(end, index);
    yield match;
    end = index + match.length;
  }
  if (gaps && end < text.length) yield text.slice(end);
}

/** Sentencepiece's spaces: written as a letter, one more in front. */
function metaspace(config: Untrusted, where: string): Split {
  const replacement = asString(config["replacement"], `${where}.replacement`);
  if ([...replacement].length !== 1)
    throw new BadInputError(`${where}.replacement: expected one character, got ${show(replacement)}`);
  const scheme = config["prepend_scheme"] ?? "always";
  if (config["split"] !== false) throw new BadInputError(`${where}: Metaspace that splits is not supported`);
  if (scheme !== "always" && scheme !== "first" && scheme !== "never")
    throw new BadInputError(`${where}: prepend_scheme ${show(scheme)} is not supported`);
  if (config["add_prefix_space"] === false && scheme !== "never")
    throw new BadInputError(`${where}: add_prefix_space is false, but prepend_scheme ${show(scheme)}`);
  return (text, { first, continued }) => {
    const spaced = text.replaceAll(" ", replacement);
    const prepended = !continued && (scheme === "always" || (scheme === "first" && first));
    return [prepended && !spaced.startsWith(replacement) ? replacement + spaced : spaced];
  };
}
