/** Reads texts of any length as they stream: strict UTF-8, or UTF-16 where a byte order mark says so; never empty. */
import { at } from "../kernels/base/at.ts";
import { readParts } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { fileError } from "./file.ts";

/** Characters that fit into one string with room to spare: V8's most is 2^29. */
const LONGEST = 2 ** 28;

/** A text file, part by part. `onRead`: called with the bytes read so far, and those in all. */
export async function* readTextParts(
  path: string,
  onRead: (done: number, total: number) => void = () => undefined,
): AsyncGenerator<string> {
  yield* decodeText(bytesOf(path, onRead), path);
}

async function* bytesOf(
  path: string,
  onRead: (done: number, total: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  try {
    for await (const [part, size] of readParts(path)) {
      onRead((done += part.length), Math.max(done, size));
      yield part;
    }
  } catch (error) {
    throw error instanceof BadInputError ? error : fileError(path, error);
  }
}

/** A text file as one string. */
export async function readText(path: string): Promise<string> {
  return wholeText(readTextParts(path), path);
}

/** The parts of a text as one string, for what cannot be read from a stream. `name`: of the text, for errors. */
export async function wholeText(
  parts: AsyncIterable<string> | Iterable<string>,
  name: string,
): Promise<string> {
  const held: string[] = [];
  let length = 0;
  for await (const part of parts) {
    held.push(part);
    length += part.length;
    if (length > LONGEST)
      throw new BadInputError(`${name}: longer than the ${LONGEST} characters that fit here`);
  }
  return held.join("");
}

/** Encodings that a file's first bytes tell. */
const MARKS: readonly (readonly [encoding: string, mark: readonly number[]])[] = [
  ["utf-32", [0xff, 0xfe, 0, 0]],
  ["utf-32", [0, 0, 0xfe, 0xff]],
  ["utf-16le", [0xff, 0xfe]],
  ["utf-16be", [0xfe, 0xff]],
  ["utf-8", [0xef, 0xbb, 0xbf]],
  ["utf-8", []],
];

/** Decodes a text that comes in parts, without its byte order mark. `name`: of the text, for errors. */
export async function* decodeText(
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  name: string,
): AsyncGenerator<string> {
  const decoder = new StrictDecoder(name);
  let blank = true;
  const seen = (text: string): string => {
    blank &&= text.trim() === "";
    return text;
  };
  for await (const part of parts) yield seen(decoder.decode(part, false));
  yield seen(decoder.decode(new Uint8Array(0), true));
  if (blank) throw new BadInputError(`${name}: the text is empty`);
}

/** Decodes whole characters, and keeps the beginning of one for the next part. */
class StrictDecoder {
  readonly #name: string;
  #encoding: string | undefined;
  #kept = new Uint8Array(0);
  /** Bytes before those kept. */
  #before = 0;

  constructor(name: string) {
    this.#name = name;
  }

  decode(part: Uint8Array, last: boolean): string {
    const bytes = new Uint8Array(this.#kept.length + part.length);
    bytes.set(this.#kept);
    bytes.set(part, this.#kept.length);
    let start = 0;
    if (this.#encoding === undefined && (last || bytes.length >= 4)) {
      const [encoding, mark] =
        MARKS.find(([, mark]) => mark.every((byte, i) => bytes[i] === byte)) ?? at(MARKS, 0);
      if (encoding === "utf-32")
        throw new BadInputError(`${this.#name}: UTF-32; convert it first: iconv -f utf-32 -t utf-8`);
      // UTF-16 without a mark is valid UTF-8, too, with a zero byte in every other place.
      if (encoding === "utf-8" && bytes.filter((byte) => byte === 0).length > bytes.length / 4)
        throw new BadInputError(
          `${this.#name}: more than a quarter of its first ${bytes.length} bytes are zero, so it is no text in UTF-8; if it has another encoding, convert it first: iconv -f ENCODING -t utf-8`,
        );
      this.#encoding = encoding;
      start = mark.length;
    }
    const end =
      this.#encoding === undefined ? 0 : last ? bytes.length : wholeCharacters(bytes, this.#encoding);
    const whole = bytes.subarray(start, end);
    this.#kept = bytes.slice(end);
    const before = this.#before + start;
    this.#before += end;
    try {
      return new TextDecoder(this.#encoding, { fatal: true, ignoreBOM: true }).decode(whole);
    } catch {
      throw new BadInputError(
        this.#encoding === "utf-8"
          ? `${this.#name}: not UTF-8 at byte offset ${before + invalidUtf8Offset(whole)}; if it has another encoding, convert it first: iconv -f ENCODING -t utf-8`
          : `${this.#name}: begins as UTF-16 does, but is not valid UTF-16; is it damaged?`,
      );
    }
  }
}

/** How many of the bytes are whole characters, if the last one may go on. */
function wholeCharacters(bytes: Uint8Array, encoding: string): number {
  const { length } = bytes;
  if (encoding === "utf-8") {
    for (let i = Math.max(0, length - 3); i < length; i++)
      if (i + sequenceLength(at(bytes, i)) > length) return i;
    return length;
  }
  const even = length - (length % 2);
  const high = bytes[encoding === "utf-16le" ? even - 1 : even - 2] ?? 0;
  return high >= 0xd8 && high < 0xdc ? even - 2 : even; // a surrogate waits for the other
}

/** Bytes of the UTF-8 sequence that begins so. */
const sequenceLength = (lead: number): number => (lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);

/** The offset of the first byte that begins no valid UTF-8 sequence. */
function invalidUtf8Offset(bytes: Uint8Array): number {
  const strict = new TextDecoder("utf-8", { fatal: true });
  for (let i = 0; i < bytes.length;) {
    const length = sequenceLength(at(bytes, i));
    try {
      if (at(bytes, i) >= 0x80) strict.decode(bytes.subarray(i, i + length));
    } catch {
      return i;
    }
    i += length;
  }
  return bytes.length;
}
