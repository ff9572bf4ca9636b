/** From tokens to text: which bytes a token stands for, as the decoder of tokenizer.json says. */
import { BadInputError } from "../engine/errors.ts";
import { asArray, asObject, quote, show } from "./untrusted.ts";

/** "sentencepiece" has bytes, spelled <0x41>; with "spaces" that is text. */
type PieceKind = "byte level" | "sentencepiece" | "spaces" | "text";

/** Which of the two families of decoders this is; both are tables of bytes. */
export function decoderKind(
  value: unknown,
  source: string,
): { pieces: PieceKind; stripsFirstSpace: boolean } {
  const where = `${source}: decoder`;
  const config = asObject(value, where);
  const parts =
    config["type"] === "Sequence"
      ? asArray(config["decoders"], `${where}.decoders`).map((part) => asObject(part, where))
      : [config];
  const types = parts.map((part) => show(part["type"])).join(" ");
  if (types === '"ByteLevel"') return { pieces: "byte level", stripsFirstSpace: false };
  if (types === '"Metaspace"')
    return { pieces: "spaces", stripsFirstSpace: config["prepend_scheme"] !== "never" };
  // Llama 2: Replace ▁ by a space, ByteFallback, Fuse, and mostly Strip
  if (/^"Replace" "ByteFallback" "Fuse"( "Strip")?$/.test(types))
    return { pieces: "sentencepiece", stripsFirstSpace: parts.length === 4 };
  throw new BadInputError(
    `${where}: ${quote(types)} is not supported; ByteLevel and sentencepiece decoders are`,
  );
}

/** GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 and on, in order. */
const BYTE_LETTERS: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
})();
const BYTE_OF: ReadonlyMap<string, number> = new Map(BYTE_LETTERS.map((letter, byte) => [letter, byte]));

/** A text in that alphabet. */
export function inByteLetters(text: string): string {
  let letters = "";
  for (const byte of new TextEncoder().encode(text)) letters += BYTE_LETTERS[byte];
  return letters;
}

/** The bytes of text that a token stands for. */
export function pieceBytes(token: string, kind: PieceKind): Uint8Array {
  switch (kind) {
    case "byte level": {
      const bytes = Array.from(token, (char) => BYTE_OF.get(char) ?? -1);
      if (!bytes.includes(-1)) return Uint8Array.from(bytes);
      break;
    }
    case "sentencepiece": {
      const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
      return byte === undefined ? pieceBytes(token, "spaces") : Uint8Array.of(parseInt(byte, 16));
    }
    case "spaces":
      return new TextEncoder().encode(token.replaceAll("▁", " "));
    case "text":
      break;
  }
  return new TextEncoder().encode(token);
}
