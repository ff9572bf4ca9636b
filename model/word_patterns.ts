/**
 * The regular expressions by which tokenizers split a text into words. tokenizer.json has them in Oniguruma's language, which JavaScript's
 * resembles but is not. An expression is a list of alternatives, and nearly all tokenizers choose theirs from the same few dozen:
 * here is each with its equal in JavaScript. Any other is refused.
 *
 * None of them matches a letter or digit together with the space, line break or punctuation mark (but the apostrophe) behind
 * it; Tokenizer relies on it when it cuts long texts.
 */
import { BadInputError } from "../engine/errors.ts";
import { quote } from "./untrusted.ts";

/** Oniguruma's \s; JavaScript's has U+FEFF and lacks U+0085. */
const S = String.raw`\p{White_Space}`;
const NOT_S = String.raw`\P{White_Space}`;
/** English contractions in either case; U+017F is the other small letter whose capital is S. */
const CONTRACTION = "'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])";
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
/** One character before a word, unless it is a line break, letter or digit. */
const BEFORE = String.raw`[^\r\n\p{L}\p{N}]?`;

/** Alternatives that are the same in both languages. */
const SAME = [
  ...["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'(?:[sdmt]|ll|ve|re)"],
  ...[
    String.raw` ?\p{L}+`,
    String.raw` ?\p{N}+`,
    String.raw`\p{N}+`,
    String.raw`\p{N}`,
    String.raw`\p{N}{1,3}`,
  ],
  ...[String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`, String.raw`[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+`, String.raw`[\r\n]`],
  BEFORE + UPPER + "*" + LOWER + "+",
  BEFORE + UPPER + "+" + LOWER + "*",
];

const ALTERNATIVES: ReadonlyMap<string, string> = new Map([
  ...SAME.map((alternative): [string, string] => [alternative, alternative]),
  ["(?i:'s|'t|'re|'ve|'m|'ll|'d)", CONTRACTION],
  ["'(?i:[sdmt]|ll|ve|re)", CONTRACTION],
  [
    `${BEFORE}${UPPER}*${LOWER}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
    `${BEFORE}${UPPER}*${LOWER}+(?:${CONTRACTION})?`,
  ],
  [
    `${BEFORE}${UPPER}+${LOWER}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
    `${BEFORE}${UPPER}+${LOWER}*(?:${CONTRACTION})?`,
  ],
  [String.raw` ?[^\s\p{L}\p{N}]+`, ` ?[^${S}\\p{L}\\p{N}]+`],
  [String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`, ` ?[^${S}\\p{L}\\p{N}]+[\\r\\n]*`],
  [String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*`, ` ?[^${S}\\p{L}\\p{N}]+[\\r\\n/]*`],
  [String.raw` ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*`, ` ?[^${S}\\p{L}\\p{M}\\p{N}]+[\\r\\n]*`],
  [String.raw`\s*[\r\n]+`, `${S}*[\\r\\n]+`],
  [String.raw`\s*[\r\n]`, `${S}*[\\r\\n]`],
  [String.raw`\s+(?!\S)`, `${S}+(?!${NOT_S})`],
  [String.raw`\s+`, `${S}+`],
  [String.raw`\s`, S],
  // Possessive: gives nothing back once it has matched. In these places it never would; but the last one must reach the end.
  [String.raw`[^\r\n\p{L}\p{N}]?+\p{L}+`, String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`],
  [String.raw`[^\r\n\p{L}\p{N}]?+\p{L}++`, String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`],
  [String.raw` ?[^\s\p{L}\p{N}]++[\r\n]*`, ` ?[^${S}\\p{L}\\p{N}]+[\\r\\n]*`],
  [String.raw` ?[^\s\p{L}\p{N}]++[\r\n]*+`, ` ?[^${S}\\p{L}\\p{N}]+[\\r\\n]*`],
  [String.raw`\p{N}{1,3}+`, String.raw`\p{N}+`], // in Oniguruma {1,3}+ is ({1,3})+
  [String.raw`\s++$`, `${S}+(?![^])`],
]);

/** The JavaScript expression that matches what `pattern` of tokenizer.json matches. */
export function wordPattern(pattern: string, where: string): RegExp {
  const alternatives = topLevel(pattern).map((alternative) => {
    const known = ALTERNATIVES.get(alternative);
    if (known === undefined)
      throw new BadInputError(
        `${where}: ${quote(alternative)} of the pattern is none that templora knows to split as Hugging Face's library does`,
      );
    return known;
  });
  return new RegExp(alternatives.join("|"), "gu");
}

/** The alternatives of a regular expression: what | separates outside of groups. */
function topLevel(pattern: string): string[] {
  const alternatives = [""];
  let depth = 0;
  for (const [token] of pattern.matchAll(/\\.|[^]/gsu)) {
    if (token === "(" || token === "[") depth++;
    if (token === ")" || token === "]") depth--;
    if (token === "|" && depth === 0) alternatives.push("");
    else alternatives.push((alternatives.pop() ?? "") + token);
  }
  return alternatives;
}

/** Whether each character belongs to some match, so that the text is split at every change of kind. */
export function matchesAll(pattern: RegExp): boolean {
  return ["x", "1", ",", " ", "\n", "\u0301"].every(
    (character) => character.match(pattern)?.[0] === character,
  );
}
