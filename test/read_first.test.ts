/** `templora generate --read`: texts are learnt to their end, as `templora ppl` learns them, then the prompt or the last text goes on. */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { updatesIn } from "../templora/decode.ts";
import { type Generated, Session, generate, loadModel, recipes } from "../templora/index.ts";
import { openTestDevices } from "./support/backends.ts";
import {
  type CallOptions,
  type JsonLine,
  type Outcome,
  binary,
  jsonLines,
  templora,
  withoutTimes,
} from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("read first");
const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const book = readFileSync(new URL("moby-dick-excerpt.txt", goldenFolder), "utf8");
writeFileSync(at("one.txt"), book.slice(0, 300));
writeFileSync(at("two.txt"), book.slice(300, 500));
const common = [
  "--recipe",
  "tuned",
  ...["--model", tiny, "--device", "cpu", "--threads", "1", "--chunk", "32", "--window", "40"],
  ...["--rank", "4", "--lr", "0.01", "--warmup", "0", "--json", "-"],
];
const write = (...flags: string[]): string[] => ["generate", ...common, "--tokens", "50", ...flags];
const one = ["--read", at("one.txt")];
const both = [...one, "--read", at("two.txt")];
const lines = ({ stdout }: Outcome): JsonLine[] => jsonLines(stdout).map(withoutTimes);
const chunks = (outcome: Outcome): JsonLine[] => lines(outcome).filter(({ type }) => type === "chunk");

test("a text that is read has ppl's figures, to its last token, and leaves ppl's adapter", async () => {
  const [read, written] = [at("read"), at("written")];
  const ppl = await templora(["ppl", at("one.txt"), ...common, "--no-baseline", "--save-adapter", read]);
  const argv = ["generate", ...common, ...one, "--tokens", "5", "--save-adapter", written];
  const outcome = await templora(argv);
  assert.is(outcome.code, 0, outcome.stderr);
  assert.equal(chunks(outcome), chunks(ppl));
  assert.ok(Number(chunks(ppl).at(-1)?.["tokens"]) < 32, "the last chunk is a short one");
  for (const name of readdirSync(read))
    assert.equal(readFileSync(join(written, name)), readFileSync(join(read, name)));
});

for (const { name, device } of await openTestDevices()) {
  const model = await loadModel(device, tiny);
  const recipe = { ...recipes.paper, rank: 4, alpha: 4, lr: 0.01, warmup: 0 };
  const options = { chunk: 16, window: 24, recipe, seed: 5 };
  const texts = [book.slice(0, 90), book.slice(90, 200)];
  const ids = await Promise.all(texts.map((text) => model.tokenizer.encodeParts([text])));
  const collect = async (events: AsyncGenerator<Generated>) => {
    const [written, records]: [number[], object[]] = [[], []];
    for await (const event of events)
      if (event.type === "token") written.push(event.id);
      else records.push({ ...event.record, seconds: null });
    return { written, records };
  };

  test(`${name}: several texts and a prompt are the steps of a session`, async () => {
    for (const prompt of [Int32Array.of(40, 77, 12), new Int32Array()]) {
      using session = new Session(model, { ...options, baseline: false });
      const records: object[] = [];
      const learn = async () => records.push({ ...(await session.learn()), seconds: null });
      for (const text of ids)
        for (let from = 0; from < text.length; from += 16) {
          session.prefill(text.subarray(from, from + 16));
          await learn();
        }
      session.prefill(prompt);
      const written: number[] = [];
      while (written.length < 20) {
        while (session.due) await learn();
        written.push((await session.next()) ?? -1);
      }
      const got = await collect(generate(model, prompt, { ...options, read: texts, tokens: 20 }));
      assert.equal(got, { written, records });
      assert.equal(
        records.map((record) => (record as { index: number }).index),
        records.map((_, i) => i),
      );
    }
  });

  test(`${name}: without an adapter, what is read is the beginning of the prompt`, async () => {
    const base = { ...options, recipe: {}, templora: false, tokens: 12 };
    const whole = Int32Array.from(ids.flatMap((text) => [...text]));
    const got = await collect(generate(model, new Int32Array(), { ...base, read: ids }));
    assert.equal(got, await collect(generate(model, whole, base)));
    assert.equal(got.records, []);
  });
  test.after(async () => {
    model.dispose();
    await device.close();
  });
}

test("updates that are still to come", () => {
  assert.is(updatesIn([], 0, 31, 32), 0);
  assert.is(updatesIn([], 32, 100, 32), 2);
  assert.is(updatesIn([40, 41], 0, 41, 32), 3);
  assert.is(updatesIn([40, 41], 32, 80, 32), 3);
  assert.is(updatesIn([40], 40, 71, 32), 0);
});

test("where there is no prompt the text goes on, and standard input is left alone; --prompt comes after the texts", async () => {
  const [alone, piped] = [
    await templora(write(...both)),
    await templora(write(...both), { stdin: "a prompt" }),
  ];
  assert.is(alone.code, 0, alone.stderr);
  assert.equal(lines(piped), lines(alone));
  const prompted = await templora(write(...both, "--prompt", "Call me"));
  const [config, ...rest] = lines(prompted);
  assert.equal(config?.["read"], [at("one.txt"), at("two.txt")]);
  const read = config?.["read_tokens"] as number[];
  assert.equal(
    rest.filter(({ type }) => type === "chunk").map(({ text, start }) => [text, Number(start)]),
    chunks(prompted).map(({ start }) => [
      Number(start) < (read[0] ?? 0)
        ? at("one.txt")
        : Number(start) < (read[0] ?? 0) + (read[1] ?? 0)
          ? at("two.txt")
          : null,
      start,
    ]),
  );
  assert.not.equal(lines(prompted).at(-1)?.["generated"], lines(alone).at(-1)?.["generated"]);
  assert.equal(chunks(prompted).filter(({ text }) => text), chunks(alone).filter(({ text }) => text)); // prettier-ignore
});

test("interrupted while it reads or while it writes, a run goes on with the same bits", async () => {
  const whole = await templora(write(...both, "--prompt", "Call me"));
  const updates = chunks(whole).length;
  assert.ok(updates > 4);
  for (const stopAt of [1, 3, updates]) {
    const state = ["--state", at(`${stopAt}.state`)];
    let seen = 0;
    const onOutput: CallOptions["onOutput"] = (text, stop) => {
      if (text.includes('"chunk"') && ++seen === stopAt) stop();
    };
    const argv = write(...both, "--prompt", "Call me", ...state);
    assert.is((await templora(argv, { onOutput })).code, 130);
    const other = await templora([...argv, "--read", at("one.txt"), "--resume"]);
    assert.match(other.stderr, /the state of another run/);
    const resumed = await templora([...argv, "--resume"]);
    assert.is(resumed.code, 0, resumed.stderr);
    assert.equal(lines(resumed), lines(whole));
  }
});

test("Ctrl-C while a long text is read ends the real binary with its state kept", async () => {
  writeFileSync(at("long.txt"), book.repeat(20));
  const state = at("long.state");
  const argv = [
    "generate",
    ...common.slice(0, -2),
    "--read",
    at("long.txt"),
    "--state",
    state,
    "--json",
    at("long.json"),
  ];
  const { code, stderr } = await binary(argv, { interruptOn: /updates on what is read/ });
  assert.is(code, 130, stderr);
  assert.match(stderr, /stopped; the same command with --resume goes on/);
});

test("what cannot be read, or written over what is read, is refused before any work", async () => {
  writeFileSync(at("empty.txt"), "");
  for (const [argv, message] of [
    [write("--read", at("none.txt")), /none\.txt: no such file/],
    [write("--read", at("empty.txt")), /empty\.txt: the text is empty/],
    [write(...one, "--chat"), /--chat puts a prompt into the template: give --prompt/],
    [write(...both, "--out", at("two.txt")), /--out would change what --read .*two\.txt reads/],
    [write(...one, "--prompt", " "), /--prompt is empty/],
  ] as const) {
    const { code, stdout, stderr } = await templora(argv);
    assert.is(code, 2, stderr);
    assert.is(stdout, "");
    assert.match(stderr, message);
  }
});

test.run();
