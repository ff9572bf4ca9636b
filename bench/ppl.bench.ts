/**
 * Makes a record of `templora ppl --json FILE` runs, so that the tables of the documents can be made from it.
 *
 *   templora ppl book.txt … --json run.jsonl && npx tsx bench/ppl.bench.ts [--suite ppl] [--commit HASH] run.jsonl…
 *
 * Suite `context` holds runs of the same texts with the context's gradient on and off, `pg19` the paper's books under its recipe.
 * `--commit` is that of the runs, where they began before the newest one.
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { writeRecord } from "./record.ts";

type Line = Readonly<Record<string, unknown>> & { readonly type: string };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { suite: { type: "string", default: "ppl" }, commit: { type: "string" } },
});
const timings = positionals.flatMap((path) => {
  const lines = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
  const config = lines.find((line) => line.type === "config");
  if (!config) throw new Error(`${path}: no config line`);
  const { model, device, recipe, chunk, window, train_window, seed, version, reuse_cache = 0 } = config;
  return lines
    .filter((line) => line.type === "summary")
    .map(({ type: _, text, ...summary }) => ({
      ...{
        text: basename(String(text)),
        model,
        device,
        chunk,
        window,
        train_window,
        seed,
        version,
        reuse_cache,
      },
      ...{ lr: (recipe as { lr: number }).lr, recipe },
      ...summary,
      chunks: lines
        .filter((line) => line.type === "chunk" && line.text === text)
        .map((line) => ({ ...line, text: basename(String(line.text)) })),
    }));
});
console.log(
  await writeRecord(values.suite, values.commit === undefined ? {} : { commit: values.commit }, timings),
);
