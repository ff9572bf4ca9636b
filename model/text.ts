/** Reads a text file: strict UTF-8, without a byte order mark, never empty. */
import { readFile } from "node:fs/promises";
import { BadInputError } from "../engine/errors.ts";
import { fileError } from "./file.ts";

export async function readText(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw fileError(path, error);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); // drops a byte order mark
  } catch {
    throw new BadInputError(
      `${path}: not UTF-8 at byte offset ${invalidUtf8Offset(bytes)}; convert it first, e.g. with iconv -f latin1 -t utf-8`,
    );
  }
  if (text.trim() === "") throw new BadInputError(`${path}: the text is empty`);
  return text;
}

/** The offset of the first byte that begins no valid UTF-8 sequence. `bytes` is not valid UTF-8. */
function invalidUtf8Offset(bytes: Uint8Array): number {
  // Replace what is invalid: U+FFFD encodes to other bytes than those it stands for, so the first difference is the place.
  const replaced = new TextEncoder().encode(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
  const start = bytes.findIndex((byte, i) => byte !== replaced[i]);
  // U+FFFD is EF BF BD: an invalid sequence that begins with EF or EF BF differs later than where it begins.
  for (let i = Math.max(0, start - 2); i < start; i++)
    if (replaced[i] === 0xef && replaced[i + 1] === 0xbf && replaced[i + 2] === 0xbd) return i;
  return start < 0 ? bytes.length : start;
}
