/** Folders of inputs, each in a file that is called by its contents, or by hand. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const nameOf = (input: Uint8Array): string =>
  createHash("sha256").update(input).digest("hex").slice(0, 16);

/** A name that says nothing: such a file may be replaced by others. */
export const isFound = (name: string): boolean => /^[\da-f]{16}$/.test(name);

export interface Input {
  readonly name: string;
  readonly bytes: Buffer;
}

/** The inputs of a folder, which may be missing, by their names. */
export function inputsIn(folder: string): Input[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => !name.startsWith("."));
  return names.sort().map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
}

export function keep(folder: string, input: Uint8Array, prefix = ""): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, prefix + nameOf(input));
  writeFileSync(path, input);
  return path;
}
