/**
 * JSON.parse for texts of any length: it cannot be interrupted, so a long list or object is cut between its entries, and a few thousand of
 * them are parsed at a time.
 *
 * Our own, since the libraries that parse JSON in parts give other values: @streamparser/json 0.0.26 and @discoveryjs/json-ext 1.1.0
 * lose U+FEFF at the beginning of a string (Gemma has such tokens), the latter also the key __proto__.
 */
import type { Steps } from "../engine/turns.ts";

/** Characters that JSON.parse takes at a time, in less than a millisecond. */
const PART = 2 ** 16;

/** Characters that a string, or the space between two parts, has at most in a text that is cut: more would keep the event loop waiting. */
const LONGEST = 2 ** 22;

const SPACE = new Set([" ", "\t", "\n", "\r"]);
const CLOSING: Readonly<Record<string, string>> = { "[": "]", "{": "}" };

/** What JSON.parse gives. `part`: characters that are parsed at a time. */
export function* parseJson(text: string, part = PART): Steps<unknown> {
  const start = afterSpace(text, 0);
  if (text.length <= part || CLOSING[text[start] ?? ""] === undefined) return JSON.parse(text) as unknown;
  const [value, end] = yield* parseContainer(text, start, part);
  if (afterSpace(text, end) < text.length) throw new SyntaxError(`text behind the value, at ${end}`);
  return value;
}

/** The list or object that opens at `start`, and the place behind it. */
function* parseContainer(text: string, start: number, part: number): Steps<readonly [object, number]> {
  const container = text[start] === "[" ? [] : {};
  const closing = CLOSING[text[start] ?? ""];
  /** Entries before this place are in the container; that place is behind a comma, or behind the opening. */
  let taken = start + 1;
  const take = (end: number): void => {
    const entries = parsed(text, taken, end, [text[start] ?? "", closing ?? ""]) as object;
    const comma = taken > start + 1 || text[end] === ",";
    if (comma && Object.keys(entries).length === 0) throw new SyntaxError(`no entry at ${taken}`);
    for (const [key, value] of Object.entries(entries)) put(container, key, value);
    taken = end + 1;
  };
  for (let entry = taken; ; yield) {
    let end = entryEnd(text, afterSpace(text, entry), part);
    if (end === undefined) {
      if (entry > taken) take(entry - 1);
      const [key, place] = Array.isArray(container) ? ["", afterSpace(text, entry)] : keyAt(text, entry);
      const [value, behind] = yield* parseLong(text, place, part);
      put(container, key, value);
      taken = (end = afterSpace(text, behind)) + 1;
      if (text[end] === closing) return [container, taken];
      if (text[end] !== ",") throw new SyntaxError(`no comma at ${end}`);
    } else if (text[end] !== ",") {
      if (text[end] !== closing) throw new SyntaxError(`no ${closing} at ${end}`);
      take(end);
      return [container, taken];
    } else if (end - taken > part) take(end);
    entry = end + 1;
  }
}

/** A value that is longer than `part`. */
function* parseLong(text: string, start: number, part: number): Steps<readonly [unknown, number]> {
  if (CLOSING[text[start] ?? ""] !== undefined) return yield* parseContainer(text, start, part);
  const end = entryEnd(text, start, LONGEST);
  if (end === undefined)
    throw new SyntaxError(`no end of the entry at ${start} within ${LONGEST} characters`);
  return [parsed(text, start, end), end];
}

/** What the text from `start` to `end` is, between `brackets`; an error, which counts from there, says where that is. */
function parsed(text: string, start: number, end: number, [opening, closing] = ["", ""]): unknown {
  try {
    return JSON.parse(opening + text.slice(start, end) + closing);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`${error.message}, in characters ${start} to ${end}`);
  }
}

/** Puts an entry behind those of a list, or into an object; unlike an assignment under the key __proto__, too. */
function put(container: object, key: string, value: unknown): void {
  if (Array.isArray(container)) container.push(value);
  else Object.defineProperty(container, key, { value, enumerable: true, writable: true, configurable: true });
}

/** The comma or bracket behind the entry that begins at `start`; undefined where that is more than `most` characters away. */
function entryEnd(text: string, start: number, most: number): number | undefined {
  let depth = 0;
  for (let i = start; i < text.length && i - start <= most; i++) {
    const character = text[i] ?? "";
    if (character === '"') i = stringEnd(text, i);
    else if (character === "[" || character === "{") depth++;
    else if (depth === 0 && (character === "," || character === "]" || character === "}")) return i;
    else if (character === "]" || character === "}") depth--;
  }
  return undefined;
}

/** The quotation mark that closes the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  for (let end = start; ;) {
    end = text.indexOf('"', end + 1);
    if (end < 0 || end - start > LONGEST)
      throw new SyntaxError(`no end of the string at ${start} within ${LONGEST} characters`);
    let backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return end;
  }
}

/** The key of an object's entry, and the place of its value. */
function keyAt(text: string, entry: number): readonly [key: string, place: number] {
  const start = afterSpace(text, entry);
  const end = stringEnd(text, start) + 1;
  const colon = afterSpace(text, end);
  if (text[colon] !== ":") throw new SyntaxError(`no colon at ${colon}`);
  return [JSON.parse(text.slice(start, end)) as string, afterSpace(text, colon + 1)];
}

function afterSpace(text: string, start: number): number {
  let place = start;
  while (SPACE.has(text[place] ?? "")) place++;
  if (place - start > LONGEST) throw new SyntaxError(`more than ${LONGEST} characters of space at ${start}`);
  return place;
}
