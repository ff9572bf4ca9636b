/** What every command that keeps a state promises, command by command: docs/reliability.md. */
import fs, { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../templora/state.ts";
import { type JsonLine, type Outcome, binary, jsonLines, templora, withoutTimes } from "./support/cli.ts";

const test = suite("crash safety");
const folder = mkdtempSync(join(tmpdir(), "templora-crash-"));
const at = (name: string): string => join(folder, name);
process.env["TEMPLORA_CACHE"] = at("cache");
test.after(() => rmSync(folder, { recursive: true }));

const book = "test/golden/moby-dick-excerpt.txt";
const excerpt = readFileSync(book, "utf8");
writeFileSync(at("text.txt"), excerpt.slice(0, 900).replaceAll(/(?<=[.;,]) /g, "\n\n"));
const { pairs } = JSON.parse(readFileSync("test/golden/translation.json", "utf8")) as { pairs: unknown[] };
writeFileSync(at("pairs.json"), JSON.stringify([...pairs, ...pairs].flat()));

const learning = ["--rank", "4", "--lr", "0.01", "--dropout", "0.1"];
const reading = [...learning, "--chunk", "32", "--window", "32"];
/** Each command that keeps a state, and the type of its records. */
const commands: Readonly<Record<string, readonly [type: string, ...argv: string[]]>> = {
  ppl: ["chunk", "ppl", book, ...reading, "--max-tokens", "100"],
  windows: [
    "chunk",
    "ppl",
    book,
    "--conventions",
    "llama-perplexity",
    "--window",
    "32",
    "--max-tokens",
    "200",
  ],
  sweep: ["chunk", "sweep", book, ...reading, "--max-tokens", "70", "--epochs", "1,2"],
  compare: ["chunk", "compare", book, ...reading, "--max-tokens", "70", "--method", "sliding:24"],
  recall: [
    "chunk",
    "recall",
    ...reading,
    "--chunk",
    "96",
    "--window",
    "96",
    "--facts",
    "1",
    "--distances",
    "1,4",
  ],
  generate: ["chunk", "generate", "--prompt", "Call me", ...reading, "--chunk", "12", "--tokens", "36"],
  "translate pairs": ["line", "translate", at("pairs.json"), ...learning, "--max-new-tokens", "6"],
  "translate text": ["paragraph", "translate", at("text.txt"), ...learning, "--src", "en", "--tgt", "fr", "--max-new-tokens", "6", "--chunk", "24", "--window", "24"], // prettier-ignore
};
const fixed = ["--model", "test/golden/tiny-tied", "--device", "cpu", "--threads", "1", "--json", "-"];

const linesOf = ({ stdout }: Outcome): JsonLine[] => jsonLines(stdout).map(withoutTimes);

/** Runs `act` with a state saved between any two steps. */
async function savingAlways<T>(act: () => Promise<T>): Promise<T> {
  process.env["TEMPLORA_SAVE_EVERY_MS"] = "-1";
  try {
    return await act();
  } finally {
    delete process.env["TEMPLORA_SAVE_EVERY_MS"];
  }
}

/** Runs `act` while states cannot be written, for this reason, once `full()` is true. */
async function onFullDisk<T>(code: string, full: () => boolean, act: () => Promise<T>): Promise<T> {
  const { writeFile } = fs;
  type Done = (error: Error | null) => void;
  const failing = (file: number, data: Uint8Array, done: Done): void =>
    full() ? done(Object.assign(new Error(code), { code })) : writeFile(file, data, done);
  Object.assign(fs, { writeFile: failing });
  syncBuiltinESMExports();
  try {
    return await act();
  } finally {
    Object.assign(fs, { writeFile });
    syncBuiltinESMExports();
  }
}

for (const [name, [type, ...words]] of Object.entries(commands)) {
  const state = at(`${name}.state`);
  const argv = [...words, ...fixed, "--state", state];
  /** Stopped behind so many records. */
  const stopped = (records = 2): Promise<Outcome> => {
    let seen = 0;
    return templora(argv, {
      onOutput: (text, stop) =>
        text.includes(`"type":"${type}"`) && ++seen === records ? stop() : undefined,
    });
  };

  test(`${name}: stopped, torn, of an older version, under another option`, async () => {
    const whole = linesOf(await templora(argv));
    assert.not.ok(existsSync(state));
    const { code, stderr } = await savingAlways(stopped);
    assert.is(code, 130, stderr);
    assert.match(stderr, /stopped; the same command with --resume goes on from here \(.*\.state, .*\)\n/);
    const kept = readFileSync(state);
    const refused = async (message: RegExp, ...flags: string[]): Promise<void> => {
      const outcome = await templora([...argv, "--resume", ...flags]);
      assert.equal([outcome.code, outcome.stdout], [2, ""]);
      assert.match(outcome.stderr, message);
    };
    const option = name === "windows" ? "window" : "lr";
    const [there, here] = name === "windows" ? [32, 34] : [0.01, 0.02];
    await refused(
      new RegExp(
        `\\.state: the state of another run \\(--${option} is ${there} there and ${here} here\\); [^\n]*\n$`,
      ),
      `--${option}`,
      String(here),
    );
    const before = readFileSync(`${state}.before`);
    rmSync(`${state}.before`);
    writeFileSync(
      state,
      kept.toString("latin1").replace(`state-${VERSION}`, `state-${VERSION - 1}`),
      "latin1",
    );
    await refused(
      new RegExp(
        `of an older version of templora, in format ${VERSION - 1}, and this one reads format ${VERSION}`,
      ),
    );
    writeFileSync(`${state}.before`, before);
    writeFileSync(state, kept.subarray(0, -5));
    const resumed = await templora([...argv, "--resume"]);
    assert.is(resumed.code, 0, resumed.stderr);
    assert.is(resumed.stderr.match(/going on from the state before it/g)?.length, 1);
    assert.equal(linesOf(resumed), whole);
    assert.not.ok(existsSync(state) || existsSync(`${state}.before`));
  });

  test(`${name}: a disk or quota that is full while it runs ends no run, and loses no earlier state`, async () => {
    const whole = linesOf(await templora(argv));
    let began = false;
    const watch = { onOutput: (text: string) => void (began ||= text.includes(`"type":"${type}"`)) };
    const going = await onFullDisk(
      "EDQUOT",
      () => began,
      () => savingAlways(() => templora(argv, watch)),
    );
    assert.is(going.code, 0, going.stderr);
    assert.match(going.stderr, /the state is not saved: .*no space left .*quota; the run goes on\n/);
    assert.equal(linesOf(going), whole);
    assert.is((await savingAlways(() => stopped(1))).code, 130);
    const kept = readFileSync(state);
    let more = 0;
    const lost = await onFullDisk(
      "ENOSPC",
      () => true,
      () =>
        templora([...argv, "--resume"], {
          onOutput: (text, stop) => (text.includes(`"type":"${type}"`) && ++more === 2 ? stop() : undefined),
        }),
    );
    assert.is(lost.code, 1, lost.stderr);
    assert.match(lost.stderr, /stopped, but the state is lost: .*\.state: no space left to write it\n$/);
    assert.equal(readFileSync(state), kept);
    const resumed = await templora([...argv, "--resume"]);
    assert.equal([resumed.code, linesOf(resumed)], [0, whole]);
  });
}

test("a clock that jumps by years changes nothing: no time is negative, no state is saved for it, no wait is longer", async () => {
  const clock = new URL("support/jumping_clock.js", import.meta.url);
  const env = { NODE_OPTIONS: `--import ${fileURLToPath(clock)}` };
  for (const name of ["ppl", "generate", "translate pairs"]) {
    const [, ...words] = commands[name] ?? [""];
    const argv = [...words, ...fixed, "--state", at("clock.state")];
    const whole = await templora(argv);
    const jumped = await binary(argv, { env });
    assert.is(jumped.code, 0, jumped.stderr);
    assert.equal(linesOf(jumped), linesOf(whole));
    const figures = /"(?:base|score|train|median|longest|tokens_per_second)":(-?[\d.e+-]+)/g;
    const times = jsonLines(jumped.stdout).flatMap(({ seconds, tokens_per_second }) =>
      [...JSON.stringify([seconds, { tokens_per_second }]).matchAll(figures)].map(([, figure]) =>
        Number(figure),
      ),
    );
    assert.ok(times.length > 4 && times.every((x) => x >= 0 && x < 1e6), String(times));
  }
});

test.run();
