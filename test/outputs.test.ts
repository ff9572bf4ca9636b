/** What a command writes: the user's files change only when there is something to keep. */
import { execFile, execFileSync } from "node:child_process";
import fs, {
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TextFile, openRecords } from "../cli/files.ts";
import type { Io } from "../cli/output.ts";
import { run } from "../cli/program.ts";
import { changedModel } from "./support/changed_model.ts";
import { binary, jsonLines, templora } from "./support/cli.ts";

const test = suite("outputs");
const reading = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "templora-outputs-"));
process.env["TEMPLORA_CACHE"] = join(folder, "cache");
test.after(() => rmSync(folder, { recursive: true }));

const OLD = "a text of the user's\n";
/** A file of the user's, as it was before the command. */
function old(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, OLD);
  return path;
}
const text = (path: string): string => readFileSync(path, "utf8");
const generate = (...flags: string[]): string[] => [
  ...["generate", "--prompt", "Call me Ishmael.", "--tokens", "8", "--no-templora"],
  ...["--model", "test/golden/tiny-tied", "--device", "cpu", "--threads", "1", "--chunk", "64", ...flags],
];

/** Runs a command that must fail, and checks that the two files are as they were. */
async function leavesAlone(
  what: string,
  attempt: (flags: string[]) => Promise<{ code: number | null }>,
  code: number,
): Promise<void> {
  const [out, json] = [old("story.txt"), old("story.jsonl")];
  assert.is((await attempt(["--out", out, "--json", json])).code, code, what);
  assert.is(text(out), OLD, `${what}: --out`);
  assert.is(text(json), OLD, `${what}: --json`);
  const [newOut, newJson] = [join(folder, "new.txt"), join(folder, "new.jsonl")];
  assert.is((await attempt(["--out", newOut, "--json", newJson])).code, code, what);
  assert.not.ok(existsSync(newOut) || existsSync(newJson), `${what}: no empty file is left behind`);
  assert.equal(
    readdirSync(folder).filter((name) => name.endsWith(".part")),
    [],
    what,
  );
}

test("a device that cannot be opened changes no file", async () => {
  process.env["TEMPLORA_CPU_BUILD"] = "wider";
  try {
    await leavesAlone("no device", (flags) => templora(generate(...flags)), 2);
  } finally {
    delete process.env["TEMPLORA_CPU_BUILD"];
  }
});

test("a state file that is none changes no file", () =>
  leavesAlone("no state", (flags) => templora(generate(...flags, "--state", old("x.state"))), 2));

test("stopped before the first token, a run changes no file", () =>
  leavesAlone(
    "stopped",
    async (flags) => {
      const nowhere = { write: () => true };
      const io = { stdin: process.stdin, stdout: nowhere, stderr: nowhere, env: {} };
      return { code: await run(generate(...flags), { ...io, signal: AbortSignal.abort() }) };
    },
    130,
  ));

test("an output that cannot be written leaves the other as it was", async () => {
  const [out, json] = [old("story.txt"), old("story.jsonl")];
  const nowhere = join(folder, "nowhere/x");
  assert.is((await templora(generate("--out", out, "--json", nowhere))).code, 2);
  assert.is((await templora(generate("--out", nowhere, "--json", json))).code, 2);
  assert.is(text(out), OLD);
  assert.is(text(json), OLD);
});

test("a run that fails while it writes leaves the old text", async () => {
  const out = old("story.txt");
  let pieces = 0;
  const { code } = await templora(generate("--out", out), {
    onOutput() {
      if (++pieces === 3) throw new Error("stdout is gone");
    },
  });
  assert.is(code, 1);
  assert.is(text(out), OLD);
  assert.not.ok(existsSync(`${out}.part`));
});

test("a run that succeeds replaces both, and follows links", async () => {
  const [out, json] = [old("story.txt"), old("story.jsonl")];
  const [outLink, jsonLink] = [join(folder, "out-link"), join(folder, "json-link")];
  symlinkSync(out, outLink);
  symlinkSync("story.jsonl", jsonLink);
  const { code, stdout, stderr } = await templora(generate("--out", outLink, "--json", jsonLink));
  assert.is(code, 0, stderr);
  assert.is(text(out), stdout);
  assert.equal(
    jsonLines(text(json)).map((line) => line["type"]),
    ["config", "summary"],
  );
  assert.ok(lstatSync(outLink).isSymbolicLink() && lstatSync(jsonLink).isSymbolicLink());
});

test("two outputs in one file are refused", async () => {
  const out = old("both");
  const { code, stderr } = await templora(generate("--out", out, "--json", join(folder, "./both")));
  assert.is(code, 2);
  assert.match(stderr, /^templora: [^\n]*both: named by both --out and --json\n$/);
  assert.is(text(out), OLD);
});

if (process.platform === "linux") {
  test("pipes, devices and descriptors are written through", async () => {
    const fifo = join(folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    const [{ stdout: read }, { code, stdout, stderr }] = await Promise.all([
      reading("cat", [fifo], { timeout: 60_000 }),
      binary(generate("--out", fifo, "--json", "/dev/null")),
    ]);
    assert.is(code, 0, stderr);
    assert.is(read, stdout);
    assert.ok(lstatSync(fifo).isFIFO() && lstatSync("/dev/null").isCharacterDevice());
    // stdout is appended to a log: it is not replaced, nor are the lines before.
    const log = old("log");
    const argv = generate("--quiet", "--json", "/dev/stdout").map((arg) => `'${arg}'`);
    execFileSync("sh", ["-c", `node --import tsx cli/main.ts ${argv.join(" ")} >> ${log}`]);
    const [first, ...rest] = text(log).split("\n");
    assert.is(`${first}\n`, OLD);
    assert.ok(rest.some((line) => line.includes('{"type":"summary"')));
  });
}

test("a perplexity that is infinite is null in JSON, and ends no job of several texts", async () => {
  const model = join(folder, "infinite");
  changedModel("test/golden/tiny-tied", model, "model.norm.weight", (values) =>
    values.forEach((value, i) => (values[i] = 1e4 * value)),
  );
  const book = "test/golden/moby-dick-excerpt.txt";
  const { code, stdout, stderr } = await templora([
    ...["ppl", book, book, "--model", model, "--device", "cpu", "--threads", "1", "--no-templora"],
    ...["--chunk", "64", "--max-tokens", "130", "--json", join(folder, "infinite.jsonl")],
  ]);
  assert.is(code, 0, stderr);
  const lines = jsonLines(text(join(folder, "infinite.jsonl")));
  const count = (type: string): number => lines.filter((line) => line["type"] === type).length;
  assert.equal([count("chunk"), count("summary")], [6, 3]);
  for (const { type, base_nll, base_ppl, tokens } of lines.slice(1))
    if (type === "summary") assert.is(base_ppl, null);
    else assert.ok(Number(base_nll) > 709 * Number(tokens), "finite, its exponential is not");
  assert.match(stdout, / Infinity /);
});

test("records replace an old file that is longer, and writes that stop short are continued", () => {
  const [json, out] = [join(folder, "long.jsonl"), join(folder, "long.txt")];
  writeFileSync(json, "x".repeat(1000));
  const { writeSync } = fs;
  const short = (file: number, data: Uint8Array, from = 0): number =>
    writeSync(file, data, from, Math.min(3, data.length - from));
  Object.assign(fs, { writeSync: short });
  syncBuiltinESMExports();
  try {
    using sink = openRecords(json, {} as Io);
    sink.write({ a: 1 });
    sink.write({ b: "é" });
    sink.commit();
    using file = new TextFile(out);
    file.write("Call me Ishmael.");
    file.commit();
  } finally {
    Object.assign(fs, { writeSync });
    syncBuiltinESMExports();
  }
  assert.is(text(json), '{"a":1}\n{"b":"é"}\n');
  assert.is(text(out), "Call me Ishmael.");
});

test.run();
