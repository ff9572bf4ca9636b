/** The command line as its callers see it: exit codes, single clear lines, JSON lines. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync, cpSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { width } from "../cli/status.ts";
import { sparkline } from "../cli/format.ts";
import { type Latency, LatencyMeter } from "../cli/latency.ts";
import { type ProgressState, Terminal, renderBar } from "../cli/output.ts";
import { DownloadProgress, type Reading, ReadingProgress } from "../cli/progress.ts";
import { noteUpdate } from "../cli/session.ts";
import { Meter } from "../engine/meter.ts";
import type { ModelConfig } from "../model/config.ts";
import { recipes } from "../templora/config.ts";
import { type ChunkRecord, nothing } from "../templora/records.ts";
import { binary, jsonLines, templora, withoutTimes, sensible } from "./support/cli.ts";

const test = suite("command line");
const model = "test/golden/tiny-tied";
const book = "test/golden/moby-dick-excerpt.txt";
/** Seven quick chunks. */
const quick =
  `--model ${model} --device cpu --threads 1 --chunk 64 --window 64 --rank 4 --lr 5e-3 --dropout 0`.split(
    " ",
  );
const short = [...quick, "--max-tokens", "200"];

const folder = mkdtempSync(join(tmpdir(), "templora-cli-"));
const at = (name: string): string => join(folder, name);
const env = { TEMPLORA_CACHE: at("cache") };
process.env["TEMPLORA_CACHE"] = env.TEMPLORA_CACHE;
writeFileSync(at("empty.txt"), "");
writeFileSync(at("blank.txt"), " \n\t\n");
writeFileSync(at("one.txt"), "a");
writeFileSync(at("latin1.txt"), Buffer.from("caf\xe9 au lait", "latin1"));
writeFileSync(at("not-a-model.gguf"), "GGUF, or so it says");
cpSync(model, at("cut"), { recursive: true });
truncateSync(at("cut/model.safetensors"), 5000);
test.after(() => rmSync(folder, { recursive: true }));

const ppl = (...flags: string[]): string[] => ["ppl", book, "--model", model, "--device", "cpu", ...flags];
const generate = (...flags: string[]): string[] => [
  ...["generate", "--prompt", "Call me Ishmael.", "--model", model, "--device", "cpu"],
  ...flags,
];

/** Bad usage and bad input: the command line, and what its one line must say. */
const refused: readonly (readonly [argv: string[], says: RegExp])[] = [
  [[], /no command given.*templora --help/],
  [["genrate"], /unknown command 'genrate' \(did you mean generate\?\).*templora --help/],
  [["ppl"], /missing required argument 'text'.*templora ppl --help/],
  [["ppl", book], /--model is missing/],
  [ppl("--chunck", "64"), /unknown option '--chunck' \(did you mean --chunk\?\); see templora ppl --help/],
  [ppl("--chunk"), /'--chunk <tokens>' argument missing/],
  [["devices", "gpu"], /too many arguments/],
  // numbers
  [ppl("--chunk", "many"), /--chunk many: expected a whole number, at least 2/],
  [ppl("--chunk", "1"), /--chunk 1: expected a whole number, at least 2/],
  [ppl("--chunk", "64.5"), /--chunk 64\.5: expected a whole number/],
  [ppl("--chunk", "1e99"), /--chunk 1e99: expected a whole number/],
  [ppl("--chunk", "0x40"), /--chunk 0x40: expected/],
  [ppl("--chunk", ""), /--chunk : expected/],
  [ppl("--window", "-1"), /--window -1: expected a whole number, at least 0/],
  [ppl("--dropout", "1"), /--dropout 1: expected a number, at least 0 and below 1/],
  [ppl("--dropout", "NaN"), /--dropout NaN: expected/],
  [ppl("--lr", "-1e-4"), /--lr -1e-4: expected a number, at least 0/],
  [ppl("--lr", "Infinity"), /--lr Infinity: expected/],
  [ppl("--rank", "0"), /--rank 0: expected a whole number, at least 1/],
  [ppl("--alpha", "0"), /--alpha 0: expected a number, above 0/],
  [ppl("--epochs", "-2"), /--epochs -2: expected/],
  [ppl("--clip", "-1"), /--clip -1: expected/],
  [ppl("--kl", "-1"), /--kl -1: expected a number, at least 0/],
  [ppl("--replay", "1.5"), /--replay 1.5: expected a whole number, at least 0/],
  [ppl("--replay", "513"), /--replay: expected a whole number, at least 0 and at most 512, not 513/],
  [ppl("--ema", "1"), /--ema 1: expected a number, at least 0 and below 1/],
  [ppl("--skip-below", "-1"), /--skip-below -1: expected a number, at least 0/],
  [ppl("--init", "pissa"), /--init pissa: expected peft, weight, input/],
  [ppl("--guard", "-1"), /--guard -1: expected a number, at least 0/],
  [ppl("--threads", "0"), /--threads 0: expected a whole number, at least 1/],
  [ppl("--seed", "4294967296"), /--seed 4294967296: expected a whole number/],
  [ppl("--max-tokens", "1"), /--max-tokens 1: expected/],
  [generate("--top-p", "0"), /--top-p 0: expected a number, above 0 and at most 1/],
  [generate("--top-k", "-1"), /--top-k -1: expected/],
  [generate("--min-p", "1.5"), /--min-p 1\.5: expected/],
  [generate("--temperature", "-0.1"), /--temperature -0\.1: expected a number, at least 0/],
  [generate("--repetition-penalty", "0"), /--repetition-penalty 0: expected/],
  [generate("--tokens", "0"), /--tokens 0: expected a whole number, at least 1/],
  // words
  [ppl("--targets", "q_proj,vproj"), /unknown "vproj" \(did you mean v_proj\?\)/],
  [ppl("--targets", ""), /--targets .*unknown ""/],
  [ppl("--recipe", "papper"), /--recipe papper: expected tuned, paper, auto \(did you mean paper\?\)/],
  [ppl("--context-grad", "maybe"), /--context-grad maybe: expected on, off/],
  [ppl("--device", "gpu"), /--device gpu: expected auto, cpu, webgpu \(did you mean webgpu\?\)/],
  // options that exclude each other
  [ppl("--no-templora", "--no-baseline"), /leave nothing to measure/],
  [
    ppl("--optimizer", "sgd", "--beta2", "0.9"),
    /^templora: --beta2: nothing reads it under --optimizer sgd;/,
  ],
  [ppl("--adapt", "full", "--rank", "8"), /^templora: --rank: nothing reads it under --adapt full;/],
  [ppl("--adapt", "norms", "--targets", "q_proj"), /--targets: nothing reads it under --adapt norms/],
  [ppl("--knn-tokens", "9"), /--knn-tokens: nothing reads it without --knn/],
  [
    ppl("--no-baseline", "--guard", "5"),
    /--guard 5: it judges updates by the frozen model's scores of what is read/,
  ],
  [generate("--guard", "5", "--read", book), /--guard 5: .*or a text that the model writes\); leave it out/],
  [
    ["translate", book, "--model", model, "--src", "en", "--tgt", "de", "--guard", "5"],
    /--guard 5: .*leave it out/,
  ],
  [
    ["translate", book, "--model", model, "--src", "en", "--tgt", "de", "--replay", "5"],
    /--replay 5: .*leave it out/,
  ],
  [ppl("--context-loss", "on"), /--context-loss: where --context-grad is off .*; take --context-grad on/],
  [
    ppl("--recipe", "paper", "--context-loss", "on", "--step-tokens", "8"),
    /--context-loss: --step-tokens learns .*; take one of them/,
  ],
  [ppl("--ema", "0.9", "--guard", "5"), /--ema: a guard judges .*; take one of them/],
  [ppl("--recipe", "paper", "--reuse-cache", "2"), /--reuse-cache 2: .*add --context-grad off/],
  [ppl("--checkpoint-layers", "4", "--chunk", "64"), /--checkpoint-layers 4: the model has 3 layers/],
  [ppl("--resume", "--chunk", "64"), /--resume: no state of such a run/],
  [generate("--resume", "--chunk", "64"), /--resume: no state of such a run/],
  [generate("--prompt-file", book), /--prompt and --prompt-file exclude each other/],
  // more than the model's 512 positions
  [ppl("--chunk", "1024"), /--chunk 1024 does not fit the model's 512 positions; choose --chunk at most 512/],
  [generate("--chunk", "512"), /--chunk 512 does not fit .* beside 1 of context; choose --chunk at most 511/],
  [ppl("--chunk", "64", "--window", "449"), /--window 449 .*512 positions; choose --window at most 448/],
  [ppl("--chunk", "64", "--window", "0", "--train-window", "449"), /--train-window 449 .*at most 448/],
  [
    generate("--chunk", "64", "--window", "300", "--reuse-cache", "3"),
    /--window 300 .*--reuse-cache 3.*at most 256/,
  ],
  // texts
  [["ppl", at("missing.txt"), ...quick], /missing\.txt: no such file/],
  [["ppl", book, at("missing.txt"), ...quick], /missing\.txt: no such file/],
  [["ppl", at("empty.txt"), ...quick], /empty\.txt: the text is empty/],
  [["ppl", at("blank.txt"), ...quick], /blank\.txt: the text is empty/],
  [["ppl", at("one.txt"), "--model", model, "--chunk", "64"], /one\.txt: 1 token/],
  [["ppl", at("latin1.txt"), ...quick], /latin1\.txt: not UTF-8 at byte offset 3/],
  [["generate", "--model", model], /nothing to continue/],
  [["generate", "--model", model, "--prompt", " "], /--prompt is empty/],
  [["generate", ...quick, "--prompt-file", at("latin1.txt")], /not UTF-8/],
  [generate("--chat", "--chunk", "64"), /no chat template/],
  // models
  [["ppl", book, "--model", "no-such-model"], /no-such-model: no such file or folder/],
  [["ppl", book, "--model", "smollm2-135m"], /not fetched yet.*templora pull smollm2-135m/],
  [["ppl", book, "--model", at("not-a-model.gguf")], /not-a-model\.gguf/],
  [["ppl", book, "--model", at("cut")], /model\.safetensors/],
  [["ppl", book, "--model", folder], /model\.safetensors/],
  // outputs
  [ppl("--chunk", "64", "--json", at("nowhere/x.jsonl")), /nowhere\/x\.jsonl: its folder does not exist/],
  [ppl("--chunk", "64", "--json", folder), /this is a folder/],
  [generate("--chunk", "64", "--out", "-"), /-: no file; for one of that name write \.\/-$/],
  [generate("--chunk", "64", "--out", at("nowhere/x.txt")), /nowhere\/x\.txt.*: its folder does not exist/],
];

for (const [argv, says] of refused) {
  test(`exit 2: ${argv.map((a) => a.replace(folder, "TMP")).join(" ") || "(nothing)"}`, async () => {
    const { code, stdout, stderr } = await templora(argv);
    const lines = stderr.split("\n").filter((line) => !line.startsWith("templora: device "));
    assert.is(code, 2, stderr);
    assert.is(stdout, "");
    assert.is(lines.length, 2, stderr);
    assert.is(lines[1], "");
    assert.ok(lines[0]?.startsWith("templora: "), stderr);
    assert.match(lines[0] ?? "", says);
  });
}

test("standard input that is not UTF-8, or empty", async () => {
  const argv = ["generate", ...quick];
  const bad = await templora(argv, { stdin: Buffer.from("caf\xe9", "latin1") });
  assert.is(bad.code, 2);
  assert.match(bad.stderr, /^templora: standard input: not UTF-8[^\n]*\n$/);
  const empty = await templora(argv, { stdin: "" });
  assert.is(empty.code, 2);
  assert.match(empty.stderr, /^templora: standard input: the text is empty[^\n]*\n$/);
});

test("help of each command: options with units and defaults, an example", async () => {
  for (const [argv, says] of [
    [["--help"], /ppl .*generate .*devices .*Exit codes: 0 done/s],
    [
      ["help", "ppl"],
      /--chunk <tokens>.*default:\s+64\s+in\s+tuned,\s+1024\s+in\s+paper.*--rank <r>.*default: 64.*Example:\n {2}templora ppl/s,
    ],
    [
      ["ppl", "--help"],
      /--window <tokens>.*3072\s+in\s+paper.*--lr <rate>.*5e-5\s+in\s+paper.*--max-tokens/s,
    ],
    [["generate", "--help"], /--tokens <n>.*--repetition-penalty.*1\.12.*Example:\n {2}templora generate/s],
    [["devices", "--help"], /--json <file>.*Example:\n {2}templora devices/s],
  ] as const) {
    const { code, stdout, stderr } = await templora(argv);
    assert.is(code, 0);
    assert.is(stderr, "");
    assert.match(stdout, says);
  }
  const { code, stdout } = await templora(["--version"]);
  assert.is(code, 0);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});

const chunkKeys =
  "type text index start tokens context base_nll lora_nll train_loss lr flops bytes seconds".split(" ");
const summaryKeys =
  "type text tokens base_ppl lora_ppl base_mean_chunk_ppl lora_mean_chunk_ppl reduction_percent flops bytes seconds tokens_per_second peak_bytes".split(
    " ",
  );
const configKeys =
  "type command model device adapter_info recipe window train_window chunk seed version".split(" ");

test("a recipe brings its chunk, window and kept keys, as far as the positions go; the record says so", async () => {
  const settings = async (...flags: string[]): Promise<unknown[]> => {
    const argv = ["ppl", book, "--model", model, "--device", "cpu", "--threads", "1", "--max-tokens", "20"];
    const [config] = jsonLines((await templora([...argv, ...flags, "--json", "-", "--quiet"])).stdout);
    return ["chunk", "window", "train_window", "reuse_cache"].map((key) => config?.[key]);
  };
  assert.equal(await settings(), [64, 256, 256, 3]); // 512 positions
  assert.equal(await settings("--recipe", "paper"), [256, 256, 256, undefined]);
  assert.equal(await settings("--reuse-cache", "1"), [64, 256, 256, 1]);
  const still = [
    "generate",
    "--prompt",
    "Call me",
    "--tokens",
    "2",
    "--no-templora",
    "--quiet",
    "--model",
    model,
  ];
  const wide = [...still, "--device", "cpu", "--chunk", "64", "--window", "448", "--reuse-cache", "5"];
  assert.is((await templora(wide)).code, 0, "an update never comes");
});

test("ppl --json -: the lines, their keys and their arithmetic", async () => {
  const flags = ["--recipe", "paper", "--json", "-", "--quiet"];
  const { code, stdout, stderr } = await templora(["ppl", book, ...short, ...flags]);
  assert.is(code, 0, stderr);
  assert.is(stderr, "");
  const [config, ...rest] = jsonLines(stdout);
  const summary = rest.pop();
  assert.equal(Object.keys(config ?? {}), configKeys);
  assert.is(config?.["model"], model);
  assert.is(config?.["device"], "cpu");
  assert.is(rest.length, 4);
  let [nll, tokens, weighted] = [0, 0, 0];
  rest.forEach((chunk, i) => {
    assert.equal(Object.keys(chunk), chunkKeys);
    assert.is(chunk["text"], book);
    assert.is(chunk["index"], i);
    assert.is(chunk["start"], 64 * i);
    assert.is(chunk["context"], i === 0 ? 0 : 64);
    assert.is(chunk["tokens"], [63, 64, 64, 8][i]);
    assert.is((chunk["train_loss"] as number[]).length, 2);
    for (const key of ["flops", "bytes", "seconds"])
      assert.equal(Object.keys(chunk[key] as object), ["base", "score", "train"]);
    const [n, x] = [chunk["tokens"] as number, chunk["lora_nll"] as number];
    [nll, tokens, weighted] = [nll + x, tokens + n, weighted + n * Math.exp(x / n)];
  });
  assert.is(rest[0]?.["base_nll"], rest[0]?.["lora_nll"], "a fresh adapter changes nothing");
  assert.equal(Object.keys(summary ?? {}), summaryKeys);
  assert.is(summary?.["text"], book);
  assert.is(summary?.["tokens"], tokens);
  assert.ok(Math.abs((summary?.["lora_ppl"] as number) / Math.exp(nll / tokens) - 1) < 1e-12);
  assert.ok(Math.abs((summary?.["lora_mean_chunk_ppl"] as number) / (weighted / tokens) - 1) < 1e-12);
  assert.equal(Object.keys(summary?.["peak_bytes"] as object), ["host", "device"]);
});

test("ppl --guard: a chunk says whether an update was undone, and the summary how many; without it neither does", async () => {
  const argv = ["ppl", book, ...quick, "--lr", "2", "--warmup", "0"];
  const { code, stdout, stderr } = await templora([...argv, "--guard", "0.5", "--json", "-"]);
  assert.is(code, 0, stderr);
  assert.match(stderr, /, updates undone beyond 0\.5 %\n/);
  const lines = jsonLines(stdout);
  const chunks = lines.filter(({ type }) => type === "chunk");
  const worse = chunks.map(({ tokens, base_nll, lora_nll }, i) =>
    Number(i > 0 && Math.exp((Number(lora_nll) - Number(base_nll)) / Number(tokens)) > 1.005),
  );
  assert.equal(
    chunks.map(({ undone }) => undone),
    worse,
  );
  const count = worse.filter((one) => one === 1).length;
  assert.ok(count > 0 && count < worse.length - 1, String(worse));
  assert.is(lines.at(-1)?.["undone_updates"], count);
  const said = new RegExp(`\nupdates undone by --guard: ${count}\n`);
  assert.match((await templora([...argv, "--guard", "0.5"])).stdout, said);
  const never = await templora([...argv, "--guard", "1e6"]);
  assert.not.match(never.stdout, /undone/);
  for (const line of jsonLines((await templora([...argv, "--json", "-"])).stdout))
    assert.not.ok("undone" in line || "undone_updates" in line);
});

test("ppl: sides switched off are null; several texts end with a total", async () => {
  writeFileSync(at("second.txt"), readFileSync(book, "utf8").slice(2000, 3000));
  const file = at("two.jsonl");
  const texts = [book, at("second.txt")];
  const { code, stdout, stderr } = await templora(
    sensible(["ppl", ...texts, ...short, "--no-templora", "--json", file]),
  );
  assert.is(code, 0, stderr);
  const lines = jsonLines(readFileSync(file, "utf8"));
  for (const line of lines.filter((l) => l["type"] === "chunk")) {
    assert.type(line["base_nll"], "number");
    assert.is(line["lora_nll"], null);
    assert.equal(line["train_loss"], []);
  }
  const summaries = lines.filter((l) => l["type"] === "summary");
  assert.equal(
    summaries.map((s) => s["text"]),
    [...texts, null],
  );
  const sum = (summaries[0]?.["tokens"] as number) + (summaries[1]?.["tokens"] as number);
  assert.is(summaries[2]?.["tokens"], sum);
  assert.is(summaries[2]?.["lora_ppl"], null);
  assert.is(summaries[2]?.["reduction_percent"], null);
  assert.match(stdout, /base ppl/);
  assert.not.match(stdout, /adapted/);
  const adapted = await templora(["ppl", book, ...short, "--no-baseline", "--json", "-"]);
  const last = jsonLines(adapted.stdout).at(-1);
  assert.is(last?.["base_ppl"], null);
  assert.type(last?.["lora_ppl"], "number");
});

test("ppl: the same command gives the same lines; every text has a fresh adapter", async () => {
  const once = await templora(["ppl", book, ...short, "--dropout", "0.1", "--json", "-", "--quiet"]);
  const again = await templora(["ppl", book, book, ...short, "--dropout", "0.1", "--json", "-", "--quiet"]);
  const [first, second] = [once, again].map(({ stdout }) => jsonLines(stdout).map(withoutTimes));
  const chunks = (first ?? []).filter((l) => l["type"] === "chunk");
  const doubled = (second ?? []).filter((l) => l["type"] === "chunk");
  assert.equal(doubled, [...chunks, ...chunks]);
});

test("ppl: interrupted, then resumed, gives the lines of an uninterrupted run", async () => {
  const argv = ["ppl", book, book, ...short, "--json", "-", "--dropout", "0.1"];
  const whole = await templora(argv);
  let chunks = 0;
  const interrupted = await templora(argv, {
    onOutput(text, stop) {
      if (text.includes('"chunk"') && ++chunks === 6) stop(); // in the second text
    },
  });
  assert.is(interrupted.code, 130);
  assert.match(interrupted.stderr, /--resume/);
  assert.not.match(interrupted.stdout, /"text":null/);
  const resumed = await templora([...argv, "--resume"]);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.equal(jsonLines(resumed.stdout).map(withoutTimes), jsonLines(whole.stdout).map(withoutTimes));
  const over = await templora([...argv, "--resume"]);
  assert.is(over.code, 2, "a complete run leaves no state");
  assert.match(over.stderr, /no state of such a run/);
});

test("generate: streams the text, trains as it goes, writes it to a file and into the summary", async () => {
  const [json, out] = [at("g.jsonl"), at("g.txt")];
  const { code, stdout, stderr } = await templora([
    ...["generate", "--prompt", "Call me Ishmael.", "--tokens", "70", "--json", json, "--out", out],
    ...[...quick, "--chunk", "32"],
  ]);
  assert.is(code, 0, stderr);
  const lines = jsonLines(readFileSync(json, "utf8"));
  assert.equal(
    lines.map((l) => l["type"]),
    ["config", "chunk", "chunk", "summary"],
  );
  assert.equal(Object.keys(lines[0] ?? {}).slice(0, configKeys.length), configKeys);
  assert.equal(Object.keys(lines[1] ?? {}), [...chunkKeys, "distinct_4", "entropy", "repeats"]);
  assert.is(lines[0]?.["schedule"], "cascaded");
  const summary = lines.at(-1) ?? {};
  assert.equal(
    Object.keys(summary).sort(),
    [...summaryKeys, "generated_tokens", "repeating_chunks", "generated"].sort(),
  );
  assert.is(summary["generated_tokens"], 70);
  const { latency } = summary["seconds"] as { latency: Latency };
  assert.ok(latency.median > 0 && latency.median <= latency.p95 && latency.p95 <= latency.longest);
  assert.match(
    stderr,
    /70 tokens in .*; from token to token .* ms \(median\), .* ms \(p95\), .* ms at most;/,
  );
  assert.is(summary["generated"], stdout);
  assert.is(readFileSync(out, "utf8"), stdout);
  assert.not.ok(existsSync(`${out}.part`));
});

test("latency: medians and longest waits from token to token, of all and of each chunk", () => {
  const meter = new LatencyMeter(4, 10);
  assert.is(meter.figures, null);
  for (const [index, now] of [[12, 5000], [13, 5010], [14, 5030], [15, 5060], [18, 6060]] as const) meter.token(index, now); // prettier-ignore
  const { p95 = NaN, ...figures } = meter.figures ?? {};
  assert.ok(Math.abs(p95 - 0.8545) < 1e-9);
  assert.equal(figures, {
    ...{ median: 0.025, longest: 1 },
    chunks: [
      { start: 13, median: 0.01, longest: 0.01 },
      { start: 14, median: 0.025, longest: 0.03 },
      { start: 18, median: 1, longest: 1 },
    ],
  });
  const many = 200_000; // more than a call takes arguments
  for (let i = 0; i <= many; i++) meter.token(19 + i, 6060 + 10 * i);
  assert.is(meter.figures?.longest, 1);
});

test("updates that go too far are told: the chunk that they learn is twice as perplexing behind them", async () => {
  const record = {
    index: 7,
    start: 0,
    tokens: 4,
    context: 0,
    base_nll: null,
    lora_nll: null,
    lr: 1,
    ...nothing(),
  };
  for (const [train_loss, epochs, skipped_steps, rose] of [
    [[2, 2.69], 2, 0, ""],
    [[2, 2.7], 2, 0, "from 2.0000 to 2.7000"],
    [[2, 9, 2.6], 3, 1, ""],
    [[1, 3, 2, 4], 2, 0, "from 2.0000 to 3.0000"], // two parts
    [[1, 3], 1, 0, ""],
    [[], 2, 0, ""],
  ] as const) {
    const notes: string[] = [];
    const terminal = { note: (line: string) => void notes.push(line) } as unknown as Terminal;
    noteUpdate({ ...record, train_loss, skipped_steps }, { epochs }, terminal);
    const said = rose && `chunk 7: its loss rose ${rose} while it was learnt: the steps go too far, lower lr`;
    const skipped = skipped_steps && "chunk 7: 1 optimiser step(s) skipped, their gradients were not finite";
    assert.equal(notes, [skipped, said].filter(Boolean));
  }
  const flags = [
    "--prompt",
    "Call me Ishmael.",
    "--tokens",
    "100",
    ...quick,
    "--chunk",
    "32",
    "--window",
    "32",
  ];
  const { code, stderr } = await templora(["generate", ...flags, "--lr", "0.5", "--warmup", "0"]);
  assert.is(code, 0, stderr);
  assert.match(stderr, /\ntemplora: chunk \d: its loss rose from [\d.]+ to [\d.]+ while it was learnt/);
});

test("generate: the same from a flag, a file and a pipe; with --json - the text stays out of stdout", async () => {
  writeFileSync(at("prompt.txt"), "Call me Ishmael.");
  const flags = sensible([...quick, "--tokens", "12", "--no-templora"]);
  const texts = [
    await templora(["generate", "--prompt", "Call me Ishmael.", ...flags]),
    await templora(["generate", "--prompt-file", at("prompt.txt"), ...flags]),
    await templora(["generate", ...flags], { stdin: "Call me Ishmael." }),
  ].map(({ stdout }) => stdout);
  assert.is(texts[1], texts[0]);
  assert.is(texts[2], texts[0]);
  const json = await templora(["generate", "--prompt", "Call me Ishmael.", ...flags, "--json", "-"]);
  assert.is(jsonLines(json.stdout).at(-1)?.["generated"], texts[0]);
});

test("generate: interrupted, it keeps what was written; resumed, it gives what an uninterrupted run gives", async () => {
  const [json, out] = [at("kept.jsonl"), at("kept.txt")];
  const argv = generate(
    ...["--tokens", "90", "--json", json, "--out", out, "--temperature", "1", "--state", at("kept.state")],
    ...[...quick, "--chunk", "32"],
  );
  const lines = (path = json): object[] => jsonLines(readFileSync(path, "utf8")).map(withoutTimes);
  const whole = await templora(argv);
  const wholeLines = lines();
  assert.is(wholeLines.length, 5, "three updates");
  const interrupted = await templora(argv, {
    onOutput(_, stop) {
      if (lines(`${json}.part`).length === 3) stop(); // in the third chunk
    },
  });
  assert.is(interrupted.code, 130);
  assert.match(interrupted.stderr, /--resume/);
  assert.is(readFileSync(out, "utf8"), whole.stdout, "an old file is not replaced by less");
  assert.is(readFileSync(`${out}.part`, "utf8"), interrupted.stdout);
  assert.match(interrupted.stderr, /kept\.txt\.part/);
  assert.ok(interrupted.stdout.length < whole.stdout.length);
  assert.equal(lines(`${json}.part`), wholeLines.slice(0, 3));
  for (const path of [out, json]) rmSync(path);
  const resumed = await templora([...argv, "--resume"]);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.is(resumed.stdout, whole.stdout);
  assert.is(readFileSync(out, "utf8"), whole.stdout);
  assert.equal(lines(), wholeLines);
  assert.not.ok(existsSync(at("kept.state")), "a complete run leaves no state");
});

test("a terminal gets a bar, drawn again below each line; colours only where wanted", async () => {
  const shown = await templora(["ppl", book, ...short], { terminal: true });
  assert.match(shown.stderr, /░.*chunk 1\/4/);
  assert.ok(shown.stderr.endsWith("\r\x1b[2K"), "the bar is taken away");
  assert.match(shown.stdout, /\x1b\[1m/);
  const plain = await templora(["ppl", book, ...short], { terminal: true, env: { NO_COLOR: "1" } });
  assert.not.match(plain.stdout, /\x1b/);
  const quiet = await templora(["ppl", book, ...short, "--quiet"], { terminal: true });
  assert.is(quiet.stderr, "");
});

test("bars and widths", () => {
  assert.is(
    renderBar({ label: "x", fraction: 0.5, figures: "5/10" }, 30),
    `x  ${"█".repeat(10)}${"░".repeat(10)}  5/10`,
  );
  for (const [fraction, bar] of [
    [-0.1, "░".repeat(20)],
    [1.1, "█".repeat(20)],
  ] as const)
    assert.is(renderBar({ label: "x", fraction, figures: "5/10" }, 30), `x  ${bar}  5/10`);
  assert.ok(renderBar({ label: "a long label", fraction: 1, figures: "figures" }, 12).length < 12);
  const state = { label: "x", fraction: 1, figures: "5/10", more: ["ppl 2", "a figure without room"] };
  assert.is(renderBar(state, 30), `x  ${"█".repeat(13)}  5/10, ppl 2`);
  assert.is(width("añ中文🙂"), 8);
  assert.is(sparkline([0, 1, 2, 7], 8), "▁▂▃█");
  assert.is(sparkline([-1, 0, 1, 1], 2), "▁█", "two and two are averaged");
  assert.is(sparkline([0, 0], 8), "▁▁");
  assert.is(sparkline([], 8), "");
});

/** Runs `act` while the clock stands at `now`, in milliseconds. */
function atTime(now: number, act: () => void): void {
  const clock = performance.now.bind(performance);
  performance.now = () => now;
  try {
    act();
  } finally {
    performance.now = clock;
  }
}

/** A terminal, and what it wrote to stderr since it was last asked, at times that the test sets. */
function shown(isTTY: boolean): { terminal: Terminal; written: (now: number, act: () => void) => string[] } {
  const writes: string[] = [];
  const stream = { isTTY, columns: 40, write: (text: string) => void writes.push(text) };
  const { signal } = new AbortController();
  const io = { stdin: process.stdin, stdout: { ...stream, write: () => undefined }, stderr: stream, env: {} };
  const terminal = new Terminal(
    { ...io, signal, stop: () => undefined },
    { quiet: false, jsonOnStdout: false },
  );
  return {
    terminal,
    written: (now, act) => {
      atTime(now, act);
      return writes.splice(0);
    },
  };
}
const state = (fraction: number): { label: string; fraction: number; figures: string } => ({
  ...{ label: "x", fraction, figures: `${100 * fraction} %` },
});
const CLEAR = "\r\x1b[2K";

test("a bar is drawn ten times a second at most, but when all is done; it is gone when its work ends", () => {
  const { terminal, written } = shown(true);
  const draw = (now: number, fraction: number): string[] =>
    written(now, () => terminal.progress(state(fraction)));
  const bar = (fraction: number): string => `${CLEAR}${renderBar(state(fraction), 40)}`;
  assert.equal(draw(5000, 0.25), [bar(0.25)]);
  assert.equal(draw(5099, 0.5), []);
  assert.equal(draw(5100, 0.75), [bar(0.75)]);
  assert.equal(draw(5101, 1), [bar(1)], "at once");
  assert.equal(written(5102, () => terminal.note("a remark")), [CLEAR, "templora: a remark\n", renderBar(state(1), 40)]); // prettier-ignore
  assert.equal(written(5103, () => terminal.endProgress()), [CLEAR]); // prettier-ignore
  assert.equal(written(5104, () => terminal.note("a remark")), ["templora: a remark\n"]); // prettier-ignore
  assert.equal(written(5105, () => terminal.endProgress()), []); // prettier-ignore
  assert.equal(draw(5106, 0.25), [bar(0.25)], "other work's bar is drawn at once");
});

test("without a terminal a line of progress comes every quarter of a minute, and none of work that ends before", () => {
  const { terminal, written } = shown(false);
  const draw = (now: number, fraction: number): string[] =>
    written(now, () => terminal.progress(state(fraction)));
  assert.equal(draw(5000, 0.25), []);
  assert.equal(draw(19_999, 0.5), []);
  assert.equal(draw(20_000, 0.509), ["x: 50 %, 50.9 %\n"]);
  assert.equal(draw(34_999, 0.75), []);
  assert.equal(draw(35_000, 1), ["x: 100 %, 100 %\n"]);
  terminal.endProgress();
  assert.equal(draw(60_000, 0.25), [], "other work");
});

/** What `act` shows of its progress at a time. */
function progressOf(): { terminal: Terminal; at: (now: number, act: () => void) => ProgressState[] } {
  const states: ProgressState[] = [];
  const terminal = { progress: (state: ProgressState) => void states.push(state) } as unknown as Terminal;
  return {
    terminal,
    at: (now, act) => {
      atTime(now, act);
      return states.splice(0);
    },
  };
}

test("progress by hand: chunks by their work, what an earlier run has read, the time that the rest will take", () => {
  const { terminal, at } = progressOf();
  const record: ChunkRecord = {
    ...{ index: 0, start: 0, tokens: 50, context: 0, base_nll: 50 * Math.log(4), lora_nll: 50 * Math.log(2) },
    ...{ train_loss: [], lr: 0, skipped_steps: 0, ...nothing() },
  };
  // a pass with each model, and two epochs of three: 2 · 50 + 6 · 50, then 2 · (20 + 50) + 6 · (10 + 50)
  const recipe = { ...recipes.paper, dropout: 0.1, epochs: 2 };
  const session = { chunk: 50, window: 20, trainWindow: 10, recipe, baseline: true, templora: true };
  const readings: Reading[] = [
    { label: "one", tokens: 100, session, earlier: [record] },
    { label: "two", tokens: 100, session, earlier: [] },
  ];
  const progress = new ReadingProgress(terminal, {} as ModelConfig, readings);
  const meter = new Meter();
  const ppl = "ppl 4.0000 → 2.0000 ";
  const shows = (label: string, work: number, figures: string, ...more: string[]): ProgressState[] => [
    { label, fraction: work / 1800, figures, more },
  ];
  assert.equal(
    at(1000, () => progress.begin(0, meter)),
    shows("one", 400, "100 tokens", `${ppl}█`, "chunk 2/2"),
  );
  meter.flops = 5000;
  assert.equal(
    at(11_000, () => progress.finished(record)),
    shows("one", 900, "5.0 tokens/s, 0:18 left", `${ppl}██`, "chunk 2/2"),
  );
  assert.equal(at(11_000, () => progress.begin(1, meter)), shows("two", 900, "5.0 tokens/s, 0:18 left", "chunk 1/2")); // prettier-ignore
  meter.flops = 7000;
  assert.equal(
    at(15_000, () => progress.tick()),
    shows("two", 1100, "5.0 tokens/s, 0:14 left", "chunk 1/2"),
  );
  assert.equal(
    at(15_099, () => progress.tick()),
    [],
  );
  meter.flops = 9000;
  assert.equal(
    at(21_000, () => progress.finished(record)),
    shows("two", 1300, "5.0 tokens/s, 0:11 left", `${ppl}█`, "chunk 2/2"),
  );
  meter.flops = 11_500;
  const [half] = at(21_500, () => progress.tick());
  assert.is(half?.fraction, (1300 + 250) / 1800);
  meter.flops = 1e9; // it does more than it should
  const [most] = at(22_000, () => progress.tick());
  assert.is(most?.fraction, (1300 + 0.99 * 500) / 1800);
  meter.flops = 14_000;
  assert.equal(
    at(31_000, () => progress.finished(record)),
    shows("two", 1800, "5.0 tokens/s, 0:00 left", `${ppl}██`, "chunk 2/2"),
  );
  const short = { label: "short", tokens: 50_000, session, earlier: [] };
  const long = new ReadingProgress(terminal, {} as ModelConfig, [short]);
  at(40_000, () => long.begin(0, meter));
  const drawn = Array.from({ length: 999 }, (_, i) => at(40_001 + i, () => long.finished(record)).length);
  assert.is(
    drawn.reduce((sum, n) => sum + n),
    9,
    "a thousand chunks a second are not each drawn",
  );
  assert.is(at(41_000, () => long.finished(record)).length, 1, "the last one is");
  // without dropout, in equal windows, the first epoch's pass is the adapted model's: 50 + 6 · 50, then 70 + 6 · 70
  for (const [trainWindow, share] of [
    [20, 350 / 840],
    [10, 350 / 850], // the first chunk has no window
  ] as const) {
    const changed = { ...session, trainWindow, recipe: { ...recipe, dropout: 0 } };
    const one = { label: "one", tokens: 100, session: changed, earlier: [record] };
    const [first] = at(1000, () => new ReadingProgress(terminal, {} as ModelConfig, [one]).begin(0, meter));
    assert.is(first?.fraction, share);
  }
});

test("a download's progress by hand: what was there before has no part in its speed", () => {
  const { terminal, at } = progressOf();
  const progress = new DownloadProgress(terminal, "a file", 11 * 2 ** 20, 2 ** 20);
  assert.equal(at(1000, () => progress.add(2 ** 20)), [{ label: "a file", fraction: 2 / 11, figures: "2.0 MiB of 11 MiB" }]); // prettier-ignore
  assert.equal(at(3000, () => progress.add(3 * 2 ** 20)), [{ label: "a file", fraction: 5 / 11, figures: "5.0 MiB of 11 MiB, 2.0 MiB/s, 0:03 left" }]); // prettier-ignore
});

test("devices: the cpu is there, and one of them is what auto takes", async () => {
  const { code, stdout } = await templora(["devices", "--json", "-"]);
  assert.is(code, 0);
  const lines = jsonLines(stdout);
  assert.equal(
    lines.map((l) => l["device"]),
    ["cpu", "webgpu"],
  );
  assert.is(lines[0]?.["available"], true);
  assert.is(lines.filter((l) => l["auto"] === true).length, 1);
});

test("the binary: exit codes, one line, Ctrl-C", async () => {
  const [help, silent, bad, unbuilt, absent, interrupted] = await Promise.all([
    binary(["--help"]),
    binary(sensible(["generate", "--prompt", "Call", "--tokens", "1", "--no-templora", "--quiet", ...quick])),
    binary(["ppl", at("missing.txt"), ...quick], { env: { DEBUG: "1" } }),
    binary(["ppl", book, ...short, "--device", "cpu"], { env: { TEMPLORA_CPU_BUILD: "wider" } }),
    binary(["ppl", book, ...short, "--device", "webgpu"], {
      env: { VK_ICD_FILENAMES: at("none.json"), VK_DRIVER_FILES: at("none.json") },
    }),
    binary(["ppl", book, ...quick, "--chunk", "16", "--json", at("stopped.jsonl")], {
      interruptOn: /^ +2 +16/m,
      env,
    }),
  ]);
  assert.is(help.code, 0);
  assert.equal([silent.code, silent.stderr], [0, ""], "not even V8 complains");
  assert.is(bad.code, 2);
  assert.match(bad.stderr, /^templora: [^\n]*missing\.txt[^\n]*\n$/);
  assert.is(unbuilt.code, 2);
  assert.match(unbuilt.stderr, /^templora: TEMPLORA_CPU_BUILD=wider: choose one of wide, relaxed, plain\n$/m);
  if (process.platform === "linux") {
    assert.is(absent.code, 2, absent.stderr);
    assert.match(absent.stderr, /^templora: --device webgpu: [^\n]*--device cpu[^\n]*\n$/m);
    assert.not.match(absent.stderr, /\n {4}at /);
  }
  assert.is(interrupted.code, 130, interrupted.stderr);
  const lines = jsonLines(readFileSync(at("stopped.jsonl"), "utf8"));
  assert.ok(lines.length >= 4, "the records up to there are complete");
  assert.is(lines.at(-1)?.["type"], "chunk");
});

test.run();
