/** Reads a text file: strict UTF-8, without a byte order mark, never empty. */
import { at } from "../kernels/base/at.ts";
import { readFile } from "../engine/backends/host/files.ts";
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

/** The offset of the first byte that begins no valid UTF-8 sequence. */
function invalidUtf8Offset(bytes: Uint8Array): number {
  const strict = new TextDecoder("utf-8", { fatal: true });
  for (let i = 0; i < bytes.length;) {
    const lead = at(bytes, i);
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      if (length > 1) strict.decode(bytes.subarray(i, i + length));
    } catch {
      return i;
    }
    i += length;
  }
  return bytes.length;
}
