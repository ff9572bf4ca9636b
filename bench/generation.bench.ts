/**
 * What a model of few positions writes beyond them, method by method, without and with Temp-LoRA; a larger model judges the text by its perplexity.
 *
 *     tsx bench/generation.bench.ts MODEL BOOK JUDGE DIVISORS.json      5 minutes with the model of bench/small_model.py and smollm2-135m as the judge
 *
 * Each begins behind the first 8,000 bytes of BOOK, which Temp-LoRA learns, and writes 768 tokens. DIVISORS.json: of longrope.bench.ts. Writes a record (suite `generation_methods`).
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { program, runNode } from "./children.ts";
import { writeRecord } from "./record.ts";

const PROMPT_BYTES = 8000;
const TOKENS = 768;
/** Three times 64 fit the model's 256 positions, seven times 64 twice as many. */
const FEW = ["--window", "192"];
const MANY = ["--window", "448"];
const [model, book, judge, divisors] = process.argv.slice(2);
if (!model || !book || !judge || !divisors)
  throw new Error("generation.bench.ts MODEL BOOK JUDGE DIVISORS.json");
const methods: Readonly<Record<string, readonly string[]>> = {
  full: FEW,
  "linear:2": ["--extend", "linear:2", ...MANY],
  "ntk:2": ["--extend", "ntk:2", ...MANY],
  "dynamic-ntk:2": ["--extend", "dynamic-ntk:2", ...MANY],
  "yarn:2": ["--extend", "yarn:2", ...MANY],
  "llama3:2": ["--extend", "llama3:2", ...MANY],
  "longrope:2": ["--extend", `longrope:${divisors}`, ...MANY],
  "sliding:192": ["--attention", "sliding:192", ...FEW],
  "streaming:4+188": ["--attention", "streaming:4+188", ...MANY],
  "self-extend:4,128": ["--attention", "self-extend:4,128", ...MANY],
};
const common = "--device cpu --seed 0 --chunk 64 --train-window 192 --temperature 0.8 --top-p 0.95".split(
  " ",
);

type Line = Readonly<Record<string, unknown>>;

async function summaryOf(path: string): Promise<Line> {
  const lines = (await readFile(path, "utf8")).trim().split("\n");
  return JSON.parse(lines.at(-1) ?? "{}") as Line;
}

/** The share of the runs of four words that occur for the first time. */
function distinct(text: string): number {
  const words = text.split(/\s+/).filter((word) => word !== "");
  const runs = words.slice(3).map((_, i) => words.slice(i, i + 4).join(" "));
  return new Set(runs).size / runs.length;
}

const folder = await mkdtemp(join(tmpdir(), "templora-generation-"));
const at = (name: string): string => join(folder, name);
const main = program("cli/main");
try {
  await writeFile(at("prompt.txt"), (await readFile(book)).subarray(0, PROMPT_BYTES));
  const rows: object[] = [];
  for (const [method, flags] of Object.entries(methods)) {
    for (const templora of [false, true]) {
      const given = [
        "--recipe",
        "paper",
        ...common,
        ...flags,
        "--repetition-penalty",
        "1.12",
        ...(templora ? [] : ["--no-templora"]),
      ];
      const files = ["--out", at("text.txt"), "--json", at("run.jsonl"), "--state", at("state")];
      const prompt = [
        "--model",
        model,
        "--prompt-file",
        at("prompt.txt"),
        "--tokens",
        String(TOKENS),
        "--quiet",
      ];
      await runNode([...main, "generate", ...prompt, ...given, ...files]);
      const judged = [
        "--model",
        judge,
        "--device",
        "cpu",
        "--no-templora",
        "--recipe",
        "paper",
        "--chunk",
        "512",
        "--window",
        "512",
      ];
      await runNode([...main, "ppl", at("text.txt"), ...judged, "--quiet", "--json", at("judged.jsonl")]);
      const text = await readFile(at("text.txt"), "utf8");
      const { base_ppl } = await summaryOf(at("judged.jsonl"));
      const { tokens_per_second } = await summaryOf(at("run.jsonl"));
      const row = {
        method,
        templora,
        flags: given.join(" "),
        judged_ppl: base_ppl,
        distinct_4: distinct(text),
        tokens_per_second,
      };
      rows.push(row);
      console.log(JSON.stringify(row), JSON.stringify(text.slice(-160)));
    }
  }
  const facts = {
    model: basename(model),
    text: basename(book),
    judge,
    prompt_bytes: PROMPT_BYTES,
    tokens: TOKENS,
  };
  console.log(await writeRecord("generation_methods", facts, rows));
} finally {
  await rm(folder, { recursive: true });
}
