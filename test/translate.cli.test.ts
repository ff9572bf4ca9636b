/** `templora translate` as its callers see it: the JSON lines and their arithmetic, a run that is cut, one clear line where it is refused. */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { figure } from "../cli/format.ts";
import type { Recipe } from "../templora/config.ts";
import { corpusBleu } from "../templora/metrics/bleu.ts";
import { corpusChrf } from "../templora/metrics/chrf.ts";
import { type JsonLine, jsonLines, templora, withoutTimes } from "./support/cli.ts";
import { readGolden } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("translate, the command");
const folder = temporaryFolder();
const inFolder = (name: string): string => join(folder, name);
process.env["TEMPLORA_CACHE"] = inFolder("cache");
const pairs = inFolder("pairs.json");
writeFileSync(pairs, JSON.stringify(readGolden<{ pairs: unknown }>("translation.json").pairs));
const model = "test/golden/tiny-tied";
const quick = "--device cpu --threads 1 --rank 4 --lr 0.02 --warmup 1 --dropout 0 --max-new-tokens 12".split(
  " ",
);
const translate = (...flags: string[]): string[] => [
  "translate",
  pairs,
  "--model",
  model,
  ...quick,
  ...flags,
];

const number = (line: JsonLine | undefined, key: string): number => line?.[key] as number;
const texts = (lines: readonly JsonLine[], key: string): string[] => lines.map((line) => line[key] as string);

test("--json: the lines, their keys, and the scores of all lines and of three parts", async () => {
  const { code, stdout, stderr } = await templora(translate("--json", "-", "--quiet"));
  assert.is(code, 0, stderr);
  assert.is(stderr, "");
  const all = jsonLines(stdout);
  const of = (type: string): JsonLine[] => all.filter((line) => line["type"] === type);
  const [config] = all;
  assert.equal(
    [
      config?.["command"],
      config?.["src"],
      config?.["tgt"],
      config?.["context"],
      config?.["train_on"],
      config?.["chat"],
    ],
    ["translate", "zh", "en", "k1", "gold", false],
  );
  assert.is(config?.["bleu"], "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp");
  assert.equal([of("line").length, of("update").length, of("summary").length], [8, 2, 4]);
  assert.equal(
    Object.keys(of("line")[0] ?? {}).sort(),
    "base_nll base_translation block bytes context flops index lora_nll lora_translation reference seconds source text tokens type".split(
      " ",
    ),
  );
  assert.equal(
    Object.keys(of("update")[0] ?? {}).sort(),
    "block bytes context flops lr seconds skipped_steps text tokens train_loss type".split(" "),
  );
  assert.equal(
    of("summary").map((s) => [s["part"], s["lines"]]),
    [[0, [0, 3]], [1, [3, 5]], [2, [5, 8]], [null, [0, 8]]],
  ); // prettier-ignore
  for (const summary of of("summary")) {
    const [from = 0, to = 0] = summary["lines"] as number[];
    const lines = of("line").slice(from, to);
    const sum = (key: string): number => lines.reduce((total, line) => total + number(line, key), 0);
    assert.is(summary["tokens"], sum("tokens"));
    for (const side of ["base", "lora"]) {
      const ppl = Math.exp(sum(`${side}_nll`) / sum("tokens"));
      assert.ok(Math.abs(number(summary, `${side}_ppl`) / ppl - 1) < 1e-12);
      const [said, wanted] = [texts(lines, `${side}_translation`), texts(lines, "reference")];
      assert.is(summary[`${side}_bleu`], corpusBleu(said, wanted));
      assert.is(summary[`${side}_chrf`], corpusChrf(said, wanted));
    }
    assert.is(summary["bleu_supervision"], "online");
  }
});

test("what it is trained on tells in the adapted figures; only under gold it is online supervision, and says so beside the figure", async () => {
  const run = async (...flags: string[]): Promise<{ last: JsonLine; stdout: string }> => {
    const json = inFolder(`${flags.join(" ")}.jsonl`);
    const { code, stdout, stderr } = await templora(translate(...flags, "--json", json));
    assert.is(code, 0, stderr);
    return { last: jsonLines(readFileSync(json, "utf8")).at(-1) ?? {}, stdout };
  };
  const [gold, self, none] = [
    await run("--train-on", "gold"),
    await run("--train-on", "self"),
    await run("--train-on", "none"),
  ];
  assert.match(gold.stdout, /BLEU \(13a\), adapted under online supervision/);
  for (const other of [self, none]) {
    assert.not.match(other.stdout, /supervision/);
    assert.not.ok("bleu_supervision" in other.last);
  }
  assert.is(none.last["lora_ppl"], none.last["base_ppl"]);
  assert.is(none.last["lora_chrf"], none.last["base_chrf"]);
  const config = async (...flags: string[]): Promise<unknown> =>
    (
      jsonLines((await templora(translate(...flags, "--json", "-", "--quiet"))).stdout)[0]?.[
        "recipe"
      ] as Recipe
    ).epochs;
  assert.equal([await config(), await config("--recipe", "tuned")], [2, 1], "the paper's by default");
  const constant = await run("--context-grad", "off");
  assert.is(new Set([gold, self, none, constant].map(({ last }) => last["lora_ppl"])).size, 4);
  assert.is(new Set([gold, self, none, constant].map(({ last }) => last["base_ppl"])).size, 1);
  const base = await run("--no-templora", "--max-pairs", "2", "--bleu-tokenizer", "char");
  assert.equal(
    [base.last["lora_bleu"], base.last["reduction_percent"], base.last["lines"]],
    [null, null, [0, 2]],
  );
  assert.not.match(base.stdout, /adapted/);
  assert.match(base.stdout, /BLEU \(char\)/);
});

test("--special is in the record of a run that has it, and in no other's", async () => {
  const first = async (...flags: string[]): Promise<unknown> => {
    const few = ["--no-templora", "--max-pairs", "1", "--json", "-"];
    const { code, stdout, stderr } = await templora(translate(...few, ...flags));
    assert.is(code, 0, stderr);
    return jsonLines(stdout)[0]?.["special"];
  };
  assert.equal([await first("--special"), await first()], [true, undefined]);
});

test("what is shown of lines and parts is what the JSON lines say", async () => {
  const json = inFolder("shown.jsonl");
  const { stdout } = await templora(translate("--json", json));
  const all = jsonLines(readFileSync(json, "utf8"));
  for (const line of all.filter(({ type }) => type === "line")) {
    const ppl = (side: string): string =>
      figure(Math.exp(number(line, `${side}_nll`) / number(line, "tokens")));
    assert.match(
      stdout,
      `\nline ${String(line["index"])}, base ppl ${ppl("base")}, adapted ${ppl("lora")}, `,
    );
  }
  const parts = [...stdout.matchAll(/^lines (\d+) to (\d+) /gm)].map(([, from, to]) => [Number(from), Number(to)]); // prettier-ignore
  assert.equal(parts, [[0, 2], [3, 4], [5, 7]]); // prettier-ignore
});

test("BLEU's words are those of the language that is written, as sacrebleu would have them", async () => {
  const lines = inFolder("languages.json");
  const languages = { zh: "zh", "zh-TW": "zh", ja: "char", ko: "char", th: "char", de: "13a" };
  for (const [tgt, tokenizer] of Object.entries(languages)) {
    writeFileSync(
      lines,
      JSON.stringify([{ contexts: { k1: [] }, inference: [{ en: "whale", [tgt]: "x" }] }]),
    );
    const argv = translate("--src", "en", "--tgt", tgt, "--no-templora", "--json", "-").with(1, lines);
    const { code, stdout, stderr } = await templora(argv);
    assert.is(code, 0, stderr);
    assert.match(String(jsonLines(stdout)[0]?.["bleu"]), `|tok:${tokenizer}|`);
  }
});

test("interrupted, then resumed, gives the lines of an uninterrupted run", async () => {
  const json = inFolder("kept.jsonl");
  const argv = translate(
    "--train-on",
    "self",
    "--dropout",
    "0.1",
    "--json",
    json,
    "--state",
    inFolder("kept.state"),
  );
  const lines = (): object[] => jsonLines(readFileSync(json, "utf8")).map(withoutTimes);
  assert.is((await templora(argv)).code, 0);
  const whole = lines();
  rmSync(json);
  for (const stopAfter of ["line 1,", "line 2,", "update after block 0", "line 4,"]) {
    const interrupted = await templora(stopAfter === "line 1," ? argv : [...argv, "--resume"], {
      onOutput: (text, stop) => {
        if (text.includes(stopAfter)) stop();
      },
    });
    assert.is(interrupted.code, 130);
    assert.match(interrupted.stderr, /--resume/);
  }
  const resumed = await templora([...argv, "--resume"]);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.equal(lines(), whole);
  assert.not.ok(existsSync(inFolder("kept.state")), "a complete run leaves no state");
});

test("the state of another run is refused: other pairs, other words of the instruction", async () => {
  const state = inFolder("other.state");
  const stopped = await templora(translate("--state", state), { onOutput: (_, stop) => stop() });
  assert.is(stopped.code, 130);
  for (const flags of [
    ["--max-pairs", "3"],
    ["--instruction", "Say it in English."],
    ["--train-on", "none"],
    ["--seed", "7"],
    ["--repetition-penalty", "1.3"],
    ["--lr", "0.01"],
    ["--max-new-tokens", "13"],
  ]) {
    const { code, stderr } = await templora(translate("--state", state, "--resume", ...flags));
    assert.is(code, 2, stderr);
    assert.match(stderr, /other\.state: the state of another run/);
  }
});

test("so is one of the same weights under another chat template, tokenizer or end token; templates that make no prompt are refused", async () => {
  const copy = inFolder("model");
  cpSync(model, copy, { recursive: true });
  const change = (name: string, changed: (json: JsonLine) => object): void => {
    const json = JSON.parse(readFileSync(join(model, name), "utf8")) as JsonLine;
    writeFileSync(join(copy, name), JSON.stringify(changed(json)));
  };
  const template = (text: string): void =>
    change("tokenizer_config.json", (json) => ({ ...json, chat_template: text }));
  const answered = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}";
  const run = (...flags: string[]): string[] =>
    translate("--model", copy, "--state", inFolder("same.state"), ...flags);
  template(`${answered}A:`);
  const stopped = await templora(run(), { onOutput: (text, stop) => text.includes("line 0") && stop() });
  assert.is(stopped.code, 130, stopped.stderr);
  const refused = async (says = /same\.state: the state of another run/): Promise<void> => {
    const { code, stderr } = await templora(run("--resume"));
    assert.match(stderr, says);
    assert.is(code, 2);
  };
  template(`${answered}B:`);
  await refused();
  template("");
  await refused(/the model's chat template (makes no token of a prompt|leaves an assistant's turn out)/);
  template("{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}");
  await refused(/the model's chat template leaves an assistant's turn out/);
  template(`${answered}A:`);
  writeFileSync(join(copy, "generation_config.json"), JSON.stringify({ eos_token_id: [1, 7] }));
  await refused();
  rmSync(join(copy, "generation_config.json"));
  const resumed = await templora(run("--resume"));
  assert.is(resumed.code, 0, resumed.stderr);
});

test("what a model writes does not steer the terminal", async () => {
  const { stdout } = await templora(translate("--no-templora", "--max-pairs", "2"));
  assert.not.match(stdout.replaceAll("\n", ""), /\p{Cc}/u);
});

test("help: the flags with their defaults, an example", async () => {
  const { code, stdout } = await templora(["translate", "--help"]);
  assert.is(code, 0);
  assert.match(
    stdout,
    /--src <language>.*"zh".*--train-on <text>.*online\s+supervision.*gold.*Examples:\n {2}templora translate/s,
  );
});

writeFileSync(inFolder("broken.json"), '[{"contexts":');
writeFileSync(inFolder("latin1.json"), Buffer.from('[{"inference":[{"zh":"\xe4","en":"a"}]}]', "latin1"));
for (const [argv, says] of [
  [["translate", "--model", model], /missing required argument 'pairs\.json\|text'/],
  [["translate", pairs], /--model is missing/],
  [["translate", inFolder("none.json"), "--model", model], /none\.json: no such file/],
  [["translate", folder, "--model", model], /this is a folder/],
  [["translate", inFolder("broken.json"), "--model", model], /broken\.json: not valid JSON/],
  [translate("--src", "de"), /pairs\.json: entry 0, inference\[0\]: no de in it; it has zh, en: .*--src/],
  [translate("--tgt", "english"), /english: not the code of a language.*--instruction/],
  [translate("--tgt", "fr"), /no fr in it/],
  [translate("--context", "k2"), /--context k2: expected k1, k3, none/],
  [translate("--train-on", "silver"), /--train-on silver: expected gold, self, none/],
  [translate("--max-pairs", "0"), /--max-pairs 0: expected a whole number, at least 1/],
  [translate("--bleu-tokenizer", "ja-mecab"), /--bleu-tokenizer ja-mecab: it needs MeCab.*take char/],
  [translate("--bleu-tokenizer", "spm"), /--bleu-tokenizer spm: expected 13a, zh, char, intl, none/],
  [translate("--no-templora", "--no-baseline"), /leave nothing to translate with/],
  [translate("--max-new-tokens", "400"), /block 0: .*the model has 512; fewer --max-new-tokens would/],
  [translate("--checkpoint-layers", "4"), /--checkpoint-layers 4: the model has 3 layers/],
  [translate("--json", pairs), /pairs\.json: --json would change what the translation reads/],
  [
    translate("--chunk", "64"),
    /--chunk is for a text; .*pairs\.json holds pairs, since its name ends in \.json/,
  ],
  ...["--json", "--state", "--out", "--glossary"].map(
    (flag) =>
      [
        translate(flag, ""),
        new RegExp(`^templora: ${flag}: expected a (file|folder)'s name, got an empty`),
      ] as const,
  ),
  [["translate", "", "--model", model], /translate: expected a name, got an empty one/],
  [["translate", inFolder("latin1.json"), "--model", model, ...quick], /latin1\.json: not UTF-8/],
] as const)
  test(`exit 2: ${argv.join(" ").replaceAll(folder, "TMP")}`, async () => {
    const { code, stdout, stderr } = await templora(argv);
    assert.is(code, 2, stderr);
    assert.is(stdout, "");
    assert.match(stderr, /^templora: [^\n]*\n$/);
    assert.match(stderr, says);
  });

test.run();
