/**
 * Added tokens: spellings that are found in a text before it is split into words, and become one id each. Rules as in the tokenizers
 * library (tokenizers/src/tokenizer/added_vocabulary.rs): the leftmost, then the longest spelling wins.
 */
import { at } from "../kernels/base/at.ts";

export interface AddedToken {
  readonly id: number;
  /** As it is sought: tokens with `normalized` are sought in normal text, in their own normal form. */
  readonly spelling: string;
  /** It takes the white space before it, or behind it, with it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** It must not touch letters or digits. */
  readonly single_word: boolean;
  /** It steers the model; in a text it means so only where the text is trusted. */
  readonly special: boolean;
}

const SPACE = /\p{White_Space}/u;
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]/u;

export class AddedTokens {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  readonly #spellings: RegExp;
  readonly #longest: number;

  constructor(tokens: readonly AddedToken[]) {
    this.#tokens = new Map(tokens.map((token) => [token.spelling, token]));
    const longestFirst = [...this.#tokens.keys()].sort((a, b) => b.length - a.length);
    const alternatives = longestFirst.map((s) => s.replace(/[$()*+.?[\\\]^{|}]/g, "\\$&"));
    this.#spellings = new RegExp(alternatives.join("|") || "(?!)", "g");
    this.#longest = longestFirst[0]?.length ?? 0;
  }

  /** The ids of added tokens, and the text between them, in order. Spellings of special tokens stay text unless `parseSpecial`. */
  *sections(text: string, parseSpecial: boolean): Generator<string | number> {
    let end = 0;
    for (const { 0: spelling, index } of text.matchAll(this.#spellings)) {
      const token = this.#tokens.get(spelling);
      let [from, to] = [index, index + spelling.length];
      if (!token || (token.special && !parseSpecial)) continue;
      if (token.single_word && (isWord(before(text, from)) || isWord(after(text, to)))) continue;
      if (token.lstrip) while (from > end && SPACE.test(at(text, from - 1))) from--;
      if (token.rstrip) while (to < text.length && SPACE.test(at(text, to))) to++;
      if (end < from) yield text.slice(end, from);
      yield token.id;
      end = to;
    }
    if (end < text.length) yield text.slice(end);
  }

  /** Whether a spelling lies across, touches, or may come one character before or behind the place `cut` of the text. */
  near(text: string, cut: number): boolean {
    const reach = this.#longest + 1;
    if (reach === 1) return false;
    if (cut < reach || cut + reach > text.length) return true;
    const spelling = new RegExp(this.#spellings, "y");
    for (let start = cut - reach; start <= cut + 1; start++) {
      spelling.lastIndex = start;
      if (spelling.test(text) && spelling.lastIndex >= cut - 1) return true;
    }
    return false;
  }
}

const isWord = (character: string): boolean => WORD.test(character);
const after = (text: string, place: number): string => String.fromCodePoint(text.codePointAt(place) ?? 0x20);
function before(text: string, place: number): string {
  const pair = place > 1 && /[\udc00-\udfff]/.test(at(text, place - 1));
  return after(text, pair ? place - 2 : place < 1 ? text.length : place - 1);
}
