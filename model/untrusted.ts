/**
 * Reads values out of files that nobody vouches for: JSON and GGUF metadata. Every function either gives the type it
 * names or throws one BadInputError that says which field of which file was expected to be what.
 */
import { BadInputError } from "../engine/errors.ts";

/** A JSON object whose fields are still to be checked. */
export type Untrusted = Readonly<Record<string, unknown>>;

/** How a value looks in an error message: short, on one line. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = beginning(value, 60);
  return cut(text, 60);
}

/** A value in JSON, or more than `room` characters of its beginning: it may be long, or nest deeper than JSON.stringify can follow. */
function beginning(value: unknown, room: number): string {
  if (typeof value === "string") return escaped(value.slice(0, room));
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null || room < 0) return String(JSON.stringify(value) ?? null);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  let text = open ?? "";
  for (const key in value) {
    if (text.length > room) return text;
    if (text !== open) text += ",";
    if (open === "{") text += `${escaped(key.slice(0, room))}:`;
    text += beginning((value as Untrusted)[key], room - text.length);
  }
  return `${text}${close}`;
}

/** A file's or a model's text inside an error message: control characters escaped, cut when it is long. */
export function quote(text: string): string {
  return escaped(cut(text, 80));
}

/** In quotation marks, without control characters: JSON.stringify leaves those from U+007F to U+009F, which steer terminals, too. */
function escaped(text: string): string {
  return JSON.stringify(text).replaceAll(/[\x7f-\x9f]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

/** A message of JavaScript's, which may quote a text, without the control characters in that. */
export function inOneLine(message: string): string {
  return message.replaceAll(/\p{Cc}+/gu, " ");
}

/** A text that may be of any length, as far as a message has room for it. */
export function cut(text: string, most = 200): string {
  return text.length > most ? `${text.slice(0, most - 3)}...` : text;
}

/** The first of any number of things, and how many more there are. */
export function some(things: readonly string[], most = 6): string {
  const more = things.length > most ? ` and ${things.length - most} more` : "";
  return things.slice(0, most).join(", ") + more;
}

/** A key inside an error message: quoted where it is not a plain name. */
export function plain(key: string): string {
  return /^[\w.]{1,80}$/.test(key) ? key : quote(key);
}

export function asObject(value: unknown, where: string): Untrusted {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new BadInputError(`${where}: expected a JSON object, got ${show(value)}`);
  return value as Untrusted;
}

/** A whole number in [min, max]. */
export function asInteger(value: unknown, where: string, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max)
    throw new BadInputError(`${where}: expected a whole number from ${min} to ${max}, got ${show(value)}`);
  return value;
}

/** A finite number above 0. */
export function asPositive(value: unknown, where: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0)
    throw new BadInputError(`${where}: expected a number above 0, got ${show(value)}`);
  return value;
}

/** One that float32 holds, too, with all its digits: neither 0 nor infinite there. */
export function asPositiveF32(value: unknown, where: string): number {
  const number = asPositive(value, where);
  if (Math.fround(number) < 2 ** -126 || Math.fround(number) === Infinity)
    throw new BadInputError(`${where}: ${show(value)} is not within the range of float32`);
  return number;
}

export function asBoolean(value: unknown, where: string): boolean {
  if (typeof value !== "boolean")
    throw new BadInputError(`${where}: expected true or false, got ${show(value)}`);
  return value;
}

export function asString(value: unknown, where: string): string {
  if (typeof value !== "string") throw new BadInputError(`${where}: expected a string, got ${show(value)}`);
  return value;
}

export function asArray(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new BadInputError(`${where}: expected a list, got ${show(value)}`);
  return value;
}

export function asStrings(value: unknown, where: string): string[] {
  return asArray(value, where).map((item, i) => asString(item, `${where}[${i}]`));
}
