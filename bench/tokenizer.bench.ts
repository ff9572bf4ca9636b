/**
 * How fast texts become tokens, in MB/s of UTF-8: here, in @huggingface/tokenizers, and in the tokenizers library for Python where one has it.
 *
 *     tsx bench/tokenizer.bench.ts [PYTHON]      20 s; PYTHON: an interpreter with the package tokenizers
 *
 * All read test/golden/tiny-tied/tokenizer.json, and their ids must be the same. The second text has no space and no line break: a
 * tokenizer that is not linear shows there.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as library from "@huggingface/tokenizers";
import { table } from "../cli/format.ts";
import { atOnce } from "../engine/turns.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { mobyDickText } from "../scripts/moby-dick.ts";
import { median } from "./harness.ts";

const ROUNDS = 3;
const path = fileURLToPath(new URL("../test/golden/tiny-tied/tokenizer.json", import.meta.url));
const json = JSON.parse(readFileSync(path, "utf8")) as object;
const book = mobyDickText();
const letters = book.replaceAll(/[^a-z]/g, "");
const texts = {
  "Moby-Dick": book,
  "50 KB without a space": letters.slice(0, 50e3),
  "100 KB": letters.slice(0, 100e3),
};

/** Milliseconds that each text took, and its number of tokens. */
type Timed = readonly (readonly [ms: number, tokens: number])[];

function timed(encoder: () => (text: string) => number): Timed {
  return Object.values(texts).map((text) => {
    const rounds = Array.from({ length: ROUNDS }, () => {
      const encode = encoder(); // anew each time, so that no word is known
      const began = performance.now();
      const tokens = encode(text);
      return [performance.now() - began, tokens] as const;
    });
    return [median(rounds.map(([ms]) => ms)), rounds[0]?.[1] ?? 0];
  });
}

const PROGRAM = `
import json, statistics, sys, time
from tokenizers import Tokenizer
results = []
for text in json.load(sys.stdin):
    rounds = []
    for _ in range(${ROUNDS}):
        tokenizer = Tokenizer.from_file(sys.argv[1])
        began = time.perf_counter()
        tokens = len(tokenizer.encode(text, add_special_tokens=False).ids)
        rounds.append(1000 * (time.perf_counter() - began))
    results.append([statistics.median(rounds), tokens])
print(json.dumps(results))
`;

type Library = new (
  json: object,
  config: object,
) => {
  encode(
    text: string,
    options: { readonly add_special_tokens: boolean },
  ): { readonly ids: readonly number[] };
};
const LibraryTokenizer = (library as unknown as { readonly Tokenizer: Library }).Tokenizer;
const settings = { bosId: null, eosIds: [], chatTemplate: undefined, source: path };
const [, , python] = process.argv;
const contestants: Readonly<Record<string, Timed>> = {
  templora: timed(() => {
    const tokenizer = atOnce(Tokenizer.from(json, settings));
    return (text) => tokenizer.encode(text, { special: false }).length;
  }),
  "@huggingface/tokenizers": timed(() => {
    const tokenizer = new LibraryTokenizer(json, {});
    return (text) => tokenizer.encode(text, { add_special_tokens: false }).ids.length;
  }),
  ...(python !== undefined && {
    "tokenizers (Python)": JSON.parse(
      execFileSync(python, ["-c", PROGRAM, path], {
        input: JSON.stringify(Object.values(texts)),
        encoding: "utf8",
      }),
    ) as Timed,
  }),
};
const tokens = (rows: Timed): string => rows.map(([, count]) => count).join();
for (const [name, rows] of Object.entries(contestants))
  if (tokens(rows) !== tokens(contestants["templora"] ?? [])) throw new Error(`${name} makes other tokens`);
const rate = (name: string, i: number): string => {
  const ms = contestants[name]?.[i]?.[0] ?? NaN;
  return (Buffer.byteLength(Object.values(texts)[i] ?? "") / 1000 / ms).toFixed(2);
};
process.stdout.write(
  table([
    ["MB/s", ...Object.keys(texts)],
    ...Object.keys(contestants).map((name) => [name, ...Object.keys(texts).map((_, i) => rate(name, i))]),
  ]),
);
