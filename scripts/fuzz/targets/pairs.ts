/** Sentence pairs of `templora translate`, with the contexts of one block before, of three, and none. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJson } from "../../../model/json_file.ts";
import { blocksOf, contexts } from "../../../templora/pairs.ts";
import type { Target } from "../target.ts";

export const pairs: Target = {
  async run(input, folder) {
    const path = join(folder, "pairs.json");
    writeFileSync(path, input);
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
