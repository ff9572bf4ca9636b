/** Makes tokens of the texts that a command reads, from their files, and shows how far it is. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { BadInputError } from "../engine/errors.ts";
import { readTextParts, wholeText } from "../model/text.ts";
import type { EncodePartsOptions, Tokenizer } from "../model/tokenizer.ts";
import { bytes, duration } from "./format.ts";
import type { Io, Terminal } from "./output.ts";
import { throwIfStopped } from "./session.ts";
import { untilStopped } from "./signals.ts";

/** The texts that a command's arguments name, those of a folder in the order of their names. */
export function textsIn(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
    const texts = readdirSync(path).filter((name) => name.endsWith(".txt")).sort(); // prettier-ignore
    if (texts.length === 0) throw new BadInputError(`${path}: a folder without .txt files`);
    return texts.map((name) => join(path, name));
  });
}

/** A text file as one string. */
export async function fileText(path: string, io: Io): Promise<string> {
  return wholeText(untilStopped(readTextParts(path), io), path);
}

/** The tokens of a text file; of a long one, no more is read than the `most` tokens take that are wanted. */
export async function fileTokens(
  path: string,
  tokenizer: Tokenizer,
  terminal: Terminal,
  io: Io,
  {
    change,
    ...options
  }: Pick<EncodePartsOptions, "most" | "parseSpecial"> & {
    /** What becomes of the text before it is cut into tokens. */
    readonly change?: ((parts: AsyncIterable<string>) => AsyncIterable<string>) | undefined;
  },
): Promise<Int32Array<ArrayBuffer>> {
  if (path === "-")
    throw new BadInputError("-: no file; standard input is /dev/stdin, a file of that name ./-");
  const began = performance.now();
  let [done, total] = [0, 0];
  const onTurn = (): void => {
    throwIfStopped(io);
    const seconds = (performance.now() - began) / 1000;
    const left = duration((seconds * (total - done)) / done);
    const figures = `${bytes(done)} of ${bytes(total)}, ${left} left`;
    terminal.progress({ label: `tokens of ${path}`, fraction: done / total, figures });
  };
  const parts = untilStopped(
    readTextParts(path, (...read) => ([done, total] = read)),
    io,
  );
  const ids = await tokenizer.encodeParts(change?.(parts) ?? parts, { ...options, onTurn });
  terminal.endProgress();
  return ids;
}
