/**
 * A text as paragraphs and what stands between them, so that a translation can have its source's shape; and a paragraph as pieces,
 * where it is too long to be translated at once.
 */
import type { Steps } from "../engine/turns.ts";

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
export function* paragraphsOf(text: string, end?: ParagraphEnd): Steps<Paragraphs> {
  const body = text.trim();
  const indent = text.length - text.trimStart().length;
  let least = end === "blank" ? 2 : 1;
  if (end === undefined)
    for (const [, breaks] of wordsOf(body)) {
      if (breaks > 1) least = 2;
      if (least === 2) break;
      yield;
    }
  const paragraphs: string[] = [];
  const gaps = [text.slice(0, indent)];
  let paragraph = "";
  const finish = (gap: string): void => {
    if (WORD.test(paragraph)) {
      paragraphs.push(paragraph);
      gaps.push(gap);
    } else gaps.push(`${gaps.pop()}${paragraph}${gap}`);
    paragraph = "";
  };
  for (const [word, breaks, space, next] of wordsOf(body)) {
    paragraph += word;
    if (breaks >= least) finish(space);
    else if (breaks === 0) paragraph += space;
    else paragraph += JOINED.test(`${paragraph.slice(-2)}\n${next}`) ? "" : " ";
    yield;
  }
  finish(text.slice(indent + body.length));
  return { paragraphs, gaps };
}

/** Words, with the line breaks in the space behind each, that space, and the two characters behind it. */
function* wordsOf(
  text: string,
): Generator<readonly [word: string, breaks: number, space: string, next: string]> {
  let start = 0;
  for (const { 0: space, index } of text.matchAll(/\s+/g)) {
    const behind = index + space.length;
    const breaks = space.match(BREAKS)?.length ?? 0;
    yield [text.slice(start, index), breaks, space, text.slice(behind, behind + 2)];
    start = behind;
  }
  yield [text.slice(start), 0, "", ""];
}

const units = ["sentence", "word", "grapheme"] as const;

export interface Pieces {
  readonly pieces: readonly string[];
  /** What the cuts are between: sentences, or smaller units where a sentence is too long. */
  readonly between: (typeof units)[number];
}

/** Characters that are looked at, and made tokens of, at once: a sentence of more is cut between words, whatever its tokens. */
const LONGEST = 2 ** 14;

/**
 * A paragraph in pieces of at most `most` tokens, as long as they can be; marks behind a word may be so many more. `locale`: its
 * language.
 */
export function* piecesOf(
  paragraph: string,
  locale: string,
  tokens: (text: string) => number,
  most: number,
): Steps<Pieces> {
  const count = (text: string): number => (text.length > LONGEST ? Infinity : tokens(text));
  if (count(paragraph) <= most) return { pieces: [paragraph], between: "sentence" };
  let finest = 0;
  const pieces = [""];
  let room = most;
  function* cut(text: string, level: number): Steps<void> {
    finest = Math.max(finest, level);
    for (const segment of segmentsOf(text, locale, level)) {
      yield;
      const needs = count(segment);
      if (needs <= (WORD.test(segment) ? room : room + most)) {
        pieces.push(`${pieces.pop()}${segment}`);
        room -= needs;
      } else if (needs > most && level < units.length - 1) {
        pieces.push("");
        room = most;
        yield* cut(segment, level + 1);
        room = most - count(pieces.at(-1) ?? "");
      } else {
        pieces.push(segment);
        room = most - needs;
      }
    }
  }
  yield* cut(paragraph, 0);
  const trimmed = pieces.map((piece) => piece.trim());
  return { pieces: trimmed.filter((piece) => piece !== ""), between: units[finest] ?? "grapheme" };
}

/** The units of a text; one of more than LONGEST characters comes in parts, between smaller units where it has any. */
function* segmentsOf(text: string, locale: string, level: number): Generator<string> {
  const unitsOf = (part: string, granularity: (typeof units)[number] | undefined): string[] =>
    Array.from(new Intl.Segmenter(locale, { granularity }).segment(part), ({ segment }) => segment);
  for (let start = 0; start < text.length;) {
    const part = text.slice(start, start + LONGEST);
    const goesOn = start + LONGEST < text.length; // so its last unit may, too
    let found = unitsOf(part, units[level]);
    if (goesOn && found.length > 1) found.pop();
    else if (goesOn) {
      const smaller = units.slice(level + 1).map((unit) => unitsOf(part, unit));
      found = [
        smaller
          .find(({ length }) => length > 1)
          ?.slice(0, -1)
          .join("") ?? part,
      ];
    }
    yield* found;
    for (const { length } of found) start += length;
  }
}
