/**
 * A text as paragraphs and what stands between them, so that a translation can have its source's shape; and a paragraph as pieces,
 * where it is too long to be translated at once.
 */

/** What ends a paragraph: a blank line, or every line break. */
export const paragraphEnds = ["blank", "line"] as const;
export type ParagraphEnd = (typeof paragraphEnds)[number];

export interface Paragraphs {
  /** One line each: line breaks inside of a paragraph are spaces, and nothing between characters that are written without spaces. */
  readonly paragraphs: readonly string[];
  /** What stands before each paragraph, and behind the last one. */
  readonly gaps: readonly string[];
}

const WORD = /[\p{L}\p{N}]/u;
const BREAKS = /\r\n|[\n\r\u2028\u2029]/g;
const UNSPACED = "[\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\u3000-\\u303f\\uff00-\\uff60]";
const JOINED = new RegExp(`${UNSPACED}\n${UNSPACED}`, "u");

/**
 * Without `end`, blank lines end paragraphs; in a text that has none inside, line breaks do. What has no letter and no digit, such as a
 * row of asterisks, belongs to the gap.
 */
export function paragraphsOf(text: string, end?: ParagraphEnd): Paragraphs {
  const body = text.trim();
  const parts = body.split(/(\s+)/); // words, and the white space between them
  const breaks = parts.map((part, i) => (i % 2 === 1 ? (part.match(BREAKS)?.length ?? 0) : 0));
  const least = (end ?? (breaks.some((n) => n > 1) ? "blank" : "line")) === "blank" ? 2 : 1;
  const paragraphs: string[] = [];
  const indent = text.length - text.trimStart().length;
  const gaps = [text.slice(0, indent)];
  let paragraph = "";
  const finish = (gap: string): void => {
    if (WORD.test(paragraph)) {
      paragraphs.push(paragraph);
      gaps.push(gap);
    } else gaps.push(`${gaps.pop()}${paragraph}${gap}`);
    paragraph = "";
  };
  parts.forEach((part, i) => {
    const n = breaks[i] ?? 0;
    if (n >= least) finish(part);
    else if (n === 0) paragraph += part;
    else paragraph += JOINED.test(`${paragraph.slice(-2)}\n${parts[i + 1]?.slice(0, 2)}`) ? "" : " ";
  });
  finish(text.slice(indent + body.length));
  return { paragraphs, gaps };
}

const units = ["sentence", "word", "grapheme"] as const;

export interface Pieces {
  readonly pieces: readonly string[];
  /** What the cuts are between: sentences, or smaller units where a sentence is too long. */
  readonly between: (typeof units)[number];
}

/**
 * A paragraph in pieces of at most `most` tokens, as long as they can be; marks behind a word may be so many more. `locale`: its
 * language.
 */
export function piecesOf(
  paragraph: string,
  locale: string,
  tokens: (text: string) => number,
  most: number,
): Pieces {
  if (tokens(paragraph) <= most) return { pieces: [paragraph], between: "sentence" };
  let finest = 0;
  const cut = (text: string, level: number): string[] => {
    finest = Math.max(finest, level);
    const segmenter = new Intl.Segmenter(locale, { granularity: units[level] ?? "grapheme" });
    const pieces = [""];
    let room = most;
    for (const { segment } of segmenter.segment(text)) {
      const needs = tokens(segment);
      const fits = needs <= (WORD.test(segment) ? room : room + most);
      if (fits) {
        pieces.push(`${pieces.pop()}${segment}`);
        room -= needs;
        continue;
      }
      const smaller = needs > most && level < units.length - 1 ? cut(segment, level + 1) : [segment];
      pieces.push(...smaller);
      room = most - tokens(smaller.at(-1) ?? "");
    }
    return pieces;
  };
  const pieces = cut(paragraph, 0).map((piece) => piece.trim());
  return { pieces: pieces.filter((piece) => piece !== ""), between: units[finest] ?? "grapheme" };
}
