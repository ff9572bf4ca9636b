/** Where the inputs that have names go: test/fuzz/corpus/TARGET. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));

export const golden = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(root, "test/golden", path), "utf8")) as Record<string, unknown>;

/** An object is written as JSON. */
export function write(target: string, name: string, input: Uint8Array | string | object): void {
  const folder = join(root, "test/fuzz/corpus", target);
  mkdirSync(folder, { recursive: true });
  const isData = typeof input === "string" || input instanceof Uint8Array;
  writeFileSync(join(folder, name), isData ? input : JSON.stringify(input));
}

/** A vocabulary of the smallest kind. */
export const tokens: readonly string[] = ["<s>", "</s>", "a", "b", "ab", "▁", "Ġ"];

export const chatTemplate =
  "{% for m in messages %}{{ m['role'] + ': ' + m['content'] | trim }}{% endfor %}{{ eos_token }}";
