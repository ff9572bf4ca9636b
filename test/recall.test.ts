/** The recall probe: where the facts stand, how they are asked for, what learning has cost; each against the parts that it is made of. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Task } from "../engine/task.ts";
import { type ChunkRecord, Session, loadModel, readText } from "../templora/index.ts";
import { Grammar, type LanguageName, languages } from "../templora/recall/grammar.ts";
import { ask, lossOf, ownReplies, recallText } from "../templora/recall/recall.ts";
import { scores, totalOf } from "../templora/scoring.ts";
import { jsonLines, templora, withoutTimes, sensible } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("recall");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const device = await openCpu({ threads: 1, v8Flags: true });
const model = await loadModel(device, tiny);
test.after(async () => {
  model.dispose();
  await device.close();
});
const { tokenizer } = model;
const plan = { language: "en", seed: 5, chunk: 128, distances: [1, 3, 4], facts: 1 } as const;

test("each fact stands in the chunk of its distance, once, and the same seed gives the same text", () => {
  for (const language of Object.keys(languages) as LanguageName[]) {
    const { ids, planted } = recallText({ ...plan, language }, tokenizer);
    assert.is(ids.length, 4 * plan.chunk);
    assert.equal(
      planted.map(({ distance }) => distance),
      [4, 3, 1],
    );
    for (const { distance, name, answer } of planted) {
      const index = 4 - distance;
      const here = tokenizer.decode(ids.subarray(index * plan.chunk, (index + 1) * plan.chunk));
      const said = new Grammar(language, 0).tell({ name, answer });
      assert.ok(here.includes(said.trim()), `${said} in ${here}`);
      assert.is(tokenizer.decode(ids).split(name).length, 2, name);
    }
    assert.equal(recallText({ ...plan, language }, tokenizer), { ids, planted });
    assert.not.equal(recallText({ ...plan, language, seed: 6 }, tokenizer).ids, ids);
  }
});

test("names are used once; a chunk that does not hold its facts is refused", () => {
  const grammar = new Grammar("zh", 1);
  const facts = Array.from({ length: 64 }, () => grammar.fact().name);
  assert.is(new Set(facts).size, 64);
  assert.throws(() => grammar.fact(), /there are 64 names/);
  assert.throws(
    () => recallText({ ...plan, facts: 9 }, tokenizer),
    /a chunk of 128 tokens is too short for 9 facts/,
  );
});

test("an answer's log p is that of its tokens behind window and question; exact: each is the likeliest", async () => {
  using task = new Task(device);
  const { ids, planted } = recallText(plan, tokenizer);
  const [first] = planted;
  if (!first) throw new Error("there are facts");
  const window = 50;
  const found = await ask(task, model, null, first, ids, window);
  const context = [...ids.subarray(-window), ...first.question];
  const inputs = Int32Array.from([...context, ...first.ids.subarray(0, -1)]);
  const part = { start: 0, inputs, from: context.length - 1, targets: first.ids, context: context.length };
  const behind = await scores(task, model, part, null);
  assert.is(found.logp, -totalOf(behind));
  assert.is(found.exact, false);
  // what is before the window changes nothing
  const other = ids.slice();
  other[ids.length - window - 1] = 7;
  assert.equal(await ask(task, model, null, first, other, window), found);
  assert.not.equal(await ask(task, model, null, first, ids, window + 1), found);
  // the model's own answer is exact, and with another last token it is not
  const own: number[] = [];
  for (let n = 0; n < 3; n++) {
    using _scope = task.scope();
    const read = Int32Array.from([...context, ...own]);
    const last = model.forward(model.ids(task, read), { adapter: null, from: read.length - 1 });
    const logits = await model.logits(last).data();
    own.push(logits.indexOf(Math.max(...logits)));
  }
  const { question } = first;
  assert.is((await ask(task, model, null, { question, ids: Int32Array.from(own) }, ids, window)).exact, true);
  own[2] = ((own[2] ?? 0) + 1) % 256;
  assert.is(
    (await ask(task, model, null, { question, ids: Int32Array.from(own) }, ids, window)).exact,
    false,
  );
});

test("where the tokenizer puts a BOS before a text, the text has one, and so has the window before a question", async () => {
  const begins = Object.create(tokenizer, {
    encode: {
      value: (text: string, options: { special?: boolean } = {}) => [
        ...(options.special === false ? [] : [tokenizer.bosId]),
        ...tokenizer.encode(text, options),
      ],
    },
  }) as typeof tokenizer;
  const { ids, planted } = recallText(plan, begins);
  const plain = recallText(plan, tokenizer).ids;
  assert.equal([ids[0], plain.includes(tokenizer.bosId ?? NaN)], [tokenizer.bosId, false]);
  const [first] = planted;
  if (!first) throw new Error("there are facts");
  using task = new Task(device);
  const found = await ask(task, model, null, first, ids, 50);
  const short = Int32Array.from([tokenizer.bosId ?? NaN, ...ids.subarray(-49)]);
  assert.equal(await ask(task, model, null, first, short, 50), found);
});

test("with a memory an answer has its share, as a score has; asking changes nothing in it", async () => {
  using session = new Session(model, { chunk: 64, window: 32, recipe: "tuned", knn: 0.3 });
  const { ids, planted } = recallText(plan, tokenizer);
  const [first] = planted;
  if (!first) throw new Error("there are facts");
  session.prefill(ids);
  while (session.due) await session.learn();
  const { task, adapter, baseMemory, loraMemory } = session;
  const context = [...ids.subarray(-50), ...first.question];
  for (const [learnt, memory] of [
    [null, baseMemory],
    [adapter, loraMemory],
  ] as const) {
    if (!memory) throw new Error("there is one");
    const before = await memory.snapshot();
    const found = await ask(task, model, learnt, first, ids, 50, memory);
    assert.equal(await memory.snapshot(), before);
    const inputs = Int32Array.from([...context, ...first.ids.subarray(0, -1)]);
    const part = { start: 0, inputs, from: context.length - 1, targets: first.ids, context: context.length };
    const alone = -totalOf(await scores(task, model, part, learnt));
    const mixed = -totalOf(await task.unit(() => scores(task, model, part, learnt, null, memory)));
    assert.ok(Math.abs(found.logp - mixed) < 1e-5, `${found.logp}, as a score ${mixed}`);
    assert.ok(Math.abs(found.logp - alone) > 0.1);
    // what now stands in the memory itself is the likeliest
    const again = await ask(task, model, learnt, first, ids, 50, memory);
    assert.ok(again.logp > first.ids.length * Math.log(0.2), String(again.logp));
    assert.equal([found.exact, again.exact], [false, true]);
  }
});

test("the loss on another text is that of reading it without learning", async () => {
  using task = new Task(device);
  const { ids } = recallText({ ...plan, seed: 9 }, tokenizer);
  const part = ids.subarray(0, 100);
  const found = await lossOf(task, model, null, part, { chunk: 32, window: 40 });
  const records: ChunkRecord[] = [];
  for await (const record of readText(model, part, { chunk: 32, window: 40, templora: false, reuseCache: 0 }))
    records.push(record);
  assert.is(found.tokens, 99);
  assert.is(
    found.nll,
    records.reduce((sum, { base_nll }) => sum + (base_nll ?? NaN), 0),
  );
});

test("replies are the frozen model's own, behind its chat format; without one there are none", async () => {
  assert.equal(await ownReplies(model, 5), []);
  const path = join(temporaryFolder(), "chat");
  cpSync(tiny, path, { recursive: true });
  const config = join(path, "tokenizer_config.json");
  const template = "{% for m in messages %}{{ m['content'] }}!{% endfor %}";
  writeFileSync(
    config,
    JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), chat_template: template }),
  );
  using chatty = await loadModel(device, path);
  const replies = await ownReplies(chatty, 5);
  assert.is(replies.length, 3);
  const [first] = replies;
  if (!first) throw new Error("there are three");
  const prompt = chatty.tokenizer.chat([{ role: "user", content: "What is the capital of France?" }]);
  assert.equal([...first.inputs.subarray(0, prompt.length)], prompt);
  assert.equal([first.from, first.targets.length, first.context], [prompt.length - 1, 5, prompt.length]);
  // greedy: each target is the likeliest
  using task = new Task(device);
  using _scope = task.scope();
  const hidden = chatty.forward(chatty.ids(task, first.inputs), { adapter: null, from: first.from });
  const logits = await chatty.logits(hidden).data();
  const V = chatty.config.vocab_size;
  for (const [t, id] of first.targets.entries()) {
    const row = logits.subarray(t * V, (t + 1) * V);
    assert.is(row.indexOf(Math.max(...row)), id);
  }
});

const flags =
  "--device cpu --threads 1 --chunk 96 --window 96 --rank 4 --lr 0.01 --warmup 0 --facts 1 --distances 1,4".split(
    " ",
  );
const argv = ["recall", "--model", tiny, ...flags];

test("templora recall: a table by distance, what was lost beside it, and the same when it was interrupted", async () => {
  const other = join(temporaryFolder(), "other.txt");
  writeFileSync(other, "The sea was dark, and the night was darker still.");
  const shown = await templora([...argv, "--unrelated", other]);
  assert.is(shown.code, 0, shown.stderr);
  assert.match(
    shown.stdout,
    /^chunks ago +facts +base log p +adapted log p +base exact +adapted exact\n1 +1 +-/,
  );
  assert.match(shown.stdout, /a text that has nothing to do with it +\d+ /);
  const json = [...argv, "--json", "-", "--state", join(temporaryFolder(), "recall.state")];
  const whole = jsonLines((await templora(json)).stdout).map(withoutTimes);
  assert.equal(
    whole.map(({ type }) => type),
    ["config", "chunk", "chunk", "chunk", "chunk", "recall", "recall", "summary"],
  );
  const stopped = await templora(json, {
    onOutput: (text, stop) => (text.includes('"index":1') ? stop() : undefined),
  });
  assert.is(stopped.code, 130);
  const resumed = await templora([...json, "--resume"]);
  assert.equal(jsonLines(resumed.stdout).map(withoutTimes), whole);
  for (const [flags, says] of [
    [
      ["--distances", "1,1000000"],
      /--distances 1,1000000: a text of 96,000,000 tokens, more than 10,000,000/,
    ],
    [["--unrelated", other, "--unrelated-tokens", "1"], /--unrelated-tokens/],
    [["--unrelated", other, "--no-templora"], /--unrelated: nothing reads it under --no-templora/],
    [["--unrelated", "no-such.txt"], /no-such\.txt: no such file/],
    [["--json", other, "--unrelated", other], /--json would change what --unrelated reads/],
  ] as const) {
    const { code, stderr } = await templora(sensible([...argv, ...flags]));
    assert.match(stderr, says);
    assert.is(code, 2);
  }
  writeFileSync(other, "a");
  assert.match(
    (await templora([...argv, "--unrelated", other])).stderr,
    /other\.txt: 1 token\(s\); a perplexity needs/,
  );
  const guarded = jsonLines((await templora([...argv, "--guard", "1", "--json", "-"])).stdout);
  for (const { base_nll, undone } of guarded.filter(({ type }) => type === "chunk"))
    assert.equal([typeof base_nll, typeof undone], ["number", "number"]);
  const remembering = jsonLines((await templora([...argv, "--knn", "0.3", "--json", "-"])).stdout);
  assert.is(remembering[0]?.["knn"], 0.3);
  const [means, without] = [remembering, whole].map(
    (lines) => lines.at(-1)?.["by_distance"] as readonly Record<string, number>[],
  );
  for (const [i, { base_logp, lora_logp }] of (means ?? []).entries()) {
    assert.not.equal(base_logp, without?.[i]?.["base_logp"]);
    assert.not.equal(lora_logp, without?.[i]?.["lora_logp"]);
  }
  const alone = jsonLines((await templora(sensible([...argv, "--no-templora", "--json", "-"]))).stdout).at(
    -1,
  );
  const [mean] = alone?.["by_distance"] as { lora_logp: number | null }[];
  assert.is(mean?.lora_logp, null);
});

test.run();
