/**
 * How a line becomes words for BLEU: sacrebleu's tokenizers (Post 2018, https://arxiv.org/abs/1804.08771), those that need no dictionary. Its
 * regular expressions see code points, and white space is Python's; both are kept.
 */

/** What Python's str.split() and strip() take for white space. */
const SPACES = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const AT_END = new RegExp(`[${SPACES}]+$`, "u");
const BETWEEN = new RegExp(`[^${SPACES}]+`, "gu");

/** Python's str.split(). */
export const words = (line: string): string[] => line.match(BETWEEN) ?? [];

/** mteval-v13a's rules for Western languages. */
function western(line: string): string {
  return line
    .replaceAll(/([{-~[-` -&(-+:-@/])/gu, " $1 ")
    .replaceAll(/([^0-9])([.,])/gu, "$1 $2 ") // unless behind a digit
    .replaceAll(/([.,])([^0-9])/gu, " $1 $2") // unless before a digit
    .replaceAll(/([0-9])(-)/gu, "$1 $2 ");
}

/**
 * What sacrebleu's `zh` sets apart. It means the Extension B and the Compatibility Supplement of the ideographs, too, but spells them
 * "\u20000" to "\u2a6d6" and "\u2f800" to "\u2fa1d", which are other characters: U+2001 to U+2A6D, U+2F81 to U+2FA1.
 */
const CHINESE =
  /[\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\u2001-\u2a6d\u2f81-\u2fa1\uff00-\uffef\u2e80-\u2eff\u3000-\u303f\u31c0-\u31ef\u2f00-\u2fdf\u2ff0-\u2fff\u3100-\u312f\u31a0-\u31bf\ufe10-\ufe1f\ufe30-\ufe4f\u3200-\u33ff]/gu;

/** What mteval-v13a replaces before it looks for words, in its order. */
const REPLACED = {
  "<skipped>": "",
  "-\n": "",
  "\n": " ",
  "&quot;": '"',
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
};
const replaced = (line: string): string =>
  Object.entries(REPLACED).reduce((text, [from, to]) => text.replaceAll(from, to), line);

/** From a line without white space at its end to one whose words are apart. */
export const tokenizers = {
  /** mteval-v13a, WMT's, for languages with spaces between words */
  "13a": (line) => western(` ${replaced(line)} `),
  /** each Chinese character is a word; the rest as in 13a */
  zh: (line) => western(words(line).join(" ").replaceAll(CHINESE, " $& ")),
  /** each character is a word */
  char: (line) => [...line].join(" "),
  /** mteval-v14's international one: punctuation and symbols of all scripts are words */
  intl: (line) =>
    line
      .replaceAll(/(\P{N})(\p{P})/gu, "$1 $2 ")
      .replaceAll(/(\p{P})(\P{N})/gu, " $1 $2")
      .replaceAll(/(\p{S})/gu, " $1 "),
  /** as it is */
  none: (line) => line,
} as const satisfies Readonly<Record<string, (line: string) => string>>;

export type BleuTokenizer = keyof typeof tokenizers;

/** The words of a line. */
export const tokenize = (line: string, tokenizer: BleuTokenizer): string[] =>
  words(tokenizers[tokenizer](line.replace(AT_END, "")));
