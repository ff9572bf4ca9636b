/** Sentence pairs of `templora translate`, with the contexts of one block before, of three, and none; and their JSON in parts. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { atOnce } from "../../../engine/turns.ts";
import { parseJson } from "../../../model/json.ts";
import { readJson } from "../../../model/json_file.ts";
import { blocksOf, contexts } from "../../../templora/pairs.ts";
import type { Target } from "../target.ts";

/** The value of a text, or undefined where it is none. */
function valueOf(parse: () => unknown): { readonly value: unknown } | undefined {
  try {
    return { value: parse() };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Long files are parsed in parts, which must make no difference: here each part is a few characters. */
function assertSameInParts(text: string): void {
  try {
    const [whole, parts] = [() => JSON.parse(text) as unknown, () => atOnce(parseJson(text, 16))].map(
      valueOf,
    );
    if (!isDeepStrictEqual(whole, parts)) throw new Error("JSON in parts is other JSON");
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it nests too deeply
  }
}

export const pairs: Target = {
  async run(input, folder) {
    const path = join(folder, "pairs.json");
    writeFileSync(path, input);
    assertSameInParts(Buffer.from(input).toString());
    const json = await readJson(path, 2 ** 28);
    const read = (context: (typeof contexts)[number]): unknown =>
      blocksOf(json, path, { src: "zh", tgt: "en", context });
    let first: Error | undefined;
    for (const context of contexts)
      try {
        read(context);
      } catch (error) {
        first ??= error as Error;
      }
    if (first) throw first;
  },
};
