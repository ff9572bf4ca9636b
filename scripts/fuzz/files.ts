/** Inputs that are several files: each begins with a line `--- NAME`. What has no such line at its beginning is one file. */

const MARK = Buffer.from("--- ");

/** The files of an input, by their names; `name`: of one that has none. */
export function filesOf(input: Uint8Array, name: string): Map<string, Buffer> {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.length);
  const files = new Map<string, Buffer>();
  if (!bytes.subarray(0, MARK.length).equals(MARK)) return files.set(name, bytes);
  for (let start = 0; start >= 0;) {
    const line = bytes.indexOf(10, start);
    const from = line < 0 ? bytes.length : line + 1;
    const next = bytes.indexOf(`\n${MARK.toString()}`, from - 1);
    const title = bytes.toString("latin1", start + MARK.length, line < 0 ? bytes.length : line);
    files.set(title, bytes.subarray(from, next < 0 ? bytes.length : Math.max(from, next)));
    start = next < 0 ? -1 : next + 1;
  }
  return files;
}

/** The input that has these files. */
export function inputOf(files: Iterable<readonly [name: string, content: Uint8Array | string]>): Buffer {
  const parts = [...files].flatMap(([name, content], i) => [
    Buffer.from(`${i > 0 ? "\n" : ""}--- ${name}\n`, "latin1"),
    Buffer.from(content as Uint8Array),
  ]);
  return Buffer.concat(parts);
}
