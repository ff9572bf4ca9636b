/** What a command writes: the user's files change only when there is something to keep. */
import { execFile, execFileSync } from "node:child_process";
import fs, {
  chmodSync,
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { InterruptedError } from "../cli/errors.ts";
import { OutputFile, keeping, locate, openRecords } from "../cli/files.ts";
import { type Io, Terminal } from "../cli/output.ts";
import { run } from "../cli/program.ts";
import { saveRun } from "../templora/state.ts";
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
      const signal = AbortSignal.abort(new InterruptedError("at once"));
      return { code: await run(generate(...flags), { ...io, signal, stop: () => undefined }) };
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

test("a run that fails while it writes leaves the old text, and says where the new one is", async () => {
  const [out, json] = [old("story.txt"), old("story.jsonl")];
  let shown = "";
  const { code, stderr } = await templora(generate("--out", out, "--json", json), {
    onOutput(piece) {
      shown += piece;
      if (shown.length > 5) throw new Error("something broke");
    },
  });
  assert.is(code, 1);
  assert.match(
    stderr,
    /what was written is in .*story\.txt\.part\n.*story\.jsonl\.part\ntempl.*something broke/,
  );
  assert.equal([text(out), text(json)], [OLD, OLD]);
  assert.is(text(`${out}.part`), shown);
  assert.is(jsonLines(text(`${json}.part`))[0]?.["type"], "config");
  for (const path of [out, json]) rmSync(`${path}.part`);
});

test("a FILE.part that is there stays, and so does that of another run", async () => {
  const [out, part] = [join(folder, "mine.txt"), old("mine.txt.part")];
  let inner = "";
  const { code, stdout } = await templora(generate("--out", out), {
    onOutput: () => (inner ||= readdirSync(folder).join(" ")),
  });
  assert.is(code, 0);
  assert.match(inner, /mine\.txt\.2\.part mine\.txt\.part/);
  assert.equal([text(out), text(part)], [stdout, OLD]);
  rmSync(part);
  const both = await Promise.all([templora(generate("--out", out)), templora(generate("--out", out))]);
  assert.equal([...both.map((one) => one.code), text(out)], [0, 0, stdout]);
  assert.equal(
    readdirSync(folder).filter((name) => name.endsWith(".part")),
    [],
  );
});

test("what is read is never written: prompts, texts, the model and its folder, under any name", async () => {
  const model = join(folder, "model");
  cpSync("test/golden/tiny-tied", model, { recursive: true });
  const inputs = [old("prompt.txt"), join(model, "config.json")];
  linkSync(join(model, "tokenizer.json"), join(folder, "linked.json"));
  symlinkSync(inputs[0] ?? "", join(folder, "prompt-link"));
  const refused = [
    ...inputs,
    join(model, "new.txt"),
    join(folder, "linked.json"),
    join(folder, "prompt-link"),
  ];
  const before = inputs.map(text);
  for (const path of refused)
    for (const flag of ["--out", "--json", "--state"]) {
      const argv = generate(flag, path, "--model", model)
        .with(1, "--prompt-file")
        .with(2, inputs[0] ?? "");
      const { code, stderr } = await templora(argv);
      assert.is(code, 2, stderr);
      assert.match(stderr, new RegExp(`^templora: ${path}: ${flag} would change what --\\S+ reads`));
    }
  const ppl = await templora([
    "ppl",
    ...inputs,
    "--model",
    model,
    "--chunk",
    "64",
    "--json",
    inputs[0] ?? "",
  ]);
  assert.match(ppl.stderr, /prompt\.txt: --json would change what text 1 reads/);
  assert.equal(inputs.map(text), before);
  assert.not.ok(existsSync(join(model, "new.txt")));
});

test("a replaced file keeps its mode, and its other names", async () => {
  if (process.platform === "win32") return;
  const [out, json, state] = [old("mode.txt"), old("mode.jsonl"), join(folder, "mode.state")];
  linkSync(json, join(folder, "other.jsonl"));
  for (const path of [out, json]) chmodSync(path, 0o640);
  await saveRun(state, { identity: "ab", about: { run: {}, parts: {} }, facts: 1 });
  chmodSync(state, 0o600);
  await saveRun(state, { identity: "ab", about: { run: {}, parts: {} }, facts: 2 });
  const { code, stderr } = await templora(generate("--out", out, "--json", json));
  assert.is(code, 0, stderr);
  assert.equal(
    [out, json, state].map((path) => statSync(path).mode & 0o777),
    [0o640, 0o640, 0o600],
  );
  assert.is(text(join(folder, "other.jsonl")), text(json));
  assert.is(jsonLines(text(json)).at(-1)?.["type"], "summary");
});

test("a run that succeeds replaces both, and follows links", async () => {
  const [out, json] = [old("story.txt"), old("story.jsonl")];
  const [outLink, jsonLink] = [join(folder, "out-link"), join(folder, "json-link")];
  symlinkSync(out, outLink);
  symlinkSync("story.jsonl", jsonLink);
  const { code, stdout, stderr } = await templora(generate("--out", outLink, "--json", jsonLink));
  assert.is(code, 0, stderr);
  assert.not.match(stderr, "what was written");
  assert.is(text(out), stdout);
  assert.equal(
    jsonLines(text(json)).map((line) => line["type"]),
    ["config", "summary"],
  );
  assert.ok(lstatSync(outLink).isSymbolicLink() && lstatSync(jsonLink).isSymbolicLink());
});

test("a link to nothing yet stays a link, and the file is made where it leads", async () => {
  const inside = mkdtempSync(join(folder, "links-"));
  const [link, target] = [join(inside, "link"), join(inside, "target")];
  symlinkSync("target", link);
  const { code, stdout, stderr } = await templora(generate("--out", link));
  assert.is(code, 0, stderr);
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.is(text(target), stdout);
  assert.equal(readdirSync(inside).sort(), ["link", "target"]);
});

test("two outputs in one file are refused", async () => {
  const out = old("both");
  const { code, stderr } = await templora(generate("--out", out, "--json", join(folder, "./both")));
  assert.is(code, 2);
  assert.match(stderr, /^templora: [^\n]*both: named by both --out and --json\n$/);
  assert.is(text(out), OLD);
});

/** Another name of a folder. */
function linkTo(path: string): string {
  const link = join(mkdtempSync(join(folder, "links-")), "link");
  symlinkSync(path, link);
  return link;
}

test("two outputs in one new file are refused, however its name is spelled", async () => {
  const path = join(folder, "both-new");
  const spellings = [relative(".", path), `../${basename(resolve("."))}/${relative(".", path)}`];
  for (const [out, json] of [
    [path, spellings[0]],
    [path, join(linkTo(folder), "both-new")],
    [spellings[0], spellings[1]],
  ] as const) {
    const { code, stderr } = await templora(generate("--out", out ?? "", "--json", json ?? ""));
    assert.is(code, 2);
    assert.match(stderr, /^templora: [^\n]*both-new: named by both --out and --json\n$/);
  }
  assert.not.ok(existsSync(path));
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

  test("a descriptor's file is not replaced, under any of its names", () => {
    const file = fs.openSync(old("open.txt"), "r");
    for (const name of [`/dev/fd/${file}`, `/proc/self/fd/${file}`, `/proc/${process.pid}/fd/${file}`])
      assert.is(locate(name).regular, false, name);
    fs.closeSync(file);
  });

  test("a pipe that nobody reads is waited for, and Ctrl-C is heard meanwhile", async () => {
    const fifo = join(folder, "unread");
    execFileSync("mkfifo", [fifo]);
    const { code, stderr } = await binary(generate("--out", fifo), { interruptOn: /unread: waiting/ });
    assert.match(stderr, /SIGINT/);
    assert.is(code, 130);
  });

  test("an output that can be written no longer stops the run, which keeps its state and the other outputs", async () => {
    const [out, state] = [join(folder, "full.txt"), join(folder, "full.state")];
    const argv = generate("--out", out, "--state", state);
    const whole = await templora(argv);
    const { code, stdout, stderr } = await templora([...argv, "--json", "/dev/full"]);
    assert.is(code, 1);
    assert.match(stderr, /templora: \/dev\/full: no space left to write it\n$/);
    assert.ok(existsSync(state), "kept");
    assert.is(text(out), stdout === "" ? whole.stdout : stdout);
    const resumed = await templora([...argv, "--resume"]);
    assert.equal([resumed.code, resumed.stdout, text(out)], [0, whole.stdout, whole.stdout], resumed.stderr);
  });
}

test("a perplexity above all numbers is null in JSON, shown as it is, and ends no job of several texts", async () => {
  const model = join(folder, "certain");
  changedModel("test/golden/tiny-tied", model, "model.norm.weight", (values) =>
    values.forEach((x, i) => (values[i] = 3000 * x)),
  );
  const book = "test/golden/moby-dick-excerpt.txt";
  const { code, stdout, stderr } = await templora([
    ...["ppl", book, book, "--model", model, "--device", "cpu", "--threads", "1", "--rank", "4"],
    ...["--chunk", "64", "--window", "64", "--max-tokens", "130", "--json", join(folder, "inf.jsonl")],
  ]);
  assert.is(code, 0, stderr);
  const lines = jsonLines(text(join(folder, "inf.jsonl")));
  for (const line of lines.filter(({ type }) => type === "chunk"))
    assert.ok((line["base_nll"] as number) / (line["tokens"] as number) > 709);
  assert.equal(
    lines
      .filter(({ type }) => type === "summary")
      .map((line) => [line["text"], line["base_ppl"], line["lora_ppl"]]),
    [book, book, null].map((name) => [name, null, null]),
  );
  assert.match(stdout, /Infinity +Infinity/);
});

test("a run that diverges ends with 1 whatever overflows first; one that has only grown worse says so", async () => {
  const ppl = async (scale: number, lr: string): Promise<[number | null, string, unknown]> => {
    const model = join(folder, `sharp${scale}`);
    const larger = (values: Float32Array): void => values.forEach((x, i) => (values[i] = scale * x));
    changedModel("test/golden/tiny-tied", model, "model.norm.weight", larger);
    const flags = [
      ...["--device", "cpu", "--threads", "1", "--chunk", "64", "--window", "64", "--max-tokens", "260"],
      ...["--rank", "4", "--alpha", "4", "--scaling", "lora", "--lr", lr],
    ];
    const json = join(folder, `sharp${scale}.jsonl`);
    const argv = ["ppl", "test/golden/moby-dick-excerpt.txt", "--model", model, ...flags];
    const { code, stderr } = await templora([...argv, "--json", json]);
    return [code, stderr, jsonLines(text(json)).at(-1)?.["type"]];
  };
  const [worse, hint, last] = await ppl(100, "30");
  assert.equal([worse, last], [0, "summary"]);
  assert.match(hint, /adapted is worse than the base by \+[\d.e+]+ %; a lower --lr or --guard may help\n$/);
  const [perplexity, why, told] = await ppl(168, "30");
  assert.equal([perplexity, told], [1, "error"]);
  assert.match(
    why,
    /excerpt\.txt: the adapted model's perplexity is beyond all numbers: .*: lower lr or clip\n$/,
  );
  const [weights, cause] = await ppl(1, "1000");
  assert.is(weights, 1);
  assert.match(cause, /the loss is not finite: .*: lower lr or clip\n$/);
});

/** Runs `act` while functions of node:fs are others. */
async function withOther(
  functions: Partial<typeof fs>,
  act: (io: Io, terminal: Terminal) => Promise<void>,
): Promise<Error[]> {
  const originals = Object.fromEntries(Object.keys(functions).map((name) => [name, fs[name as "writeSync"]]));
  const stops: Error[] = [];
  const { stdin, stdout, stderr } = process;
  const { signal } = new AbortController();
  const io = { stdin, stdout, stderr, env: {}, signal, stop: (reason: Error) => void stops.push(reason) };
  Object.assign(fs, functions);
  syncBuiltinESMExports();
  try {
    await act(io, new Terminal(io, { quiet: true, jsonOnStdout: true }));
  } finally {
    Object.assign(fs, originals);
    syncBuiltinESMExports();
  }
  return stops;
}

test("a run that is stopped and resumed several times leaves one file of each name, each longer than before", async () => {
  const into = mkdtempSync(join(folder, "stopped-"));
  const [out, json] = [join(into, "story.txt"), join(into, "story.jsonl")];
  const argv = generate("--out", out, "--json", json, "--state", join(into, "state"), "--tokens", "400");
  let length = 0;
  for (const resume of [[], ["--resume"], ["--resume"]]) {
    let shown = "";
    const { code, stderr } = await templora([...argv, ...resume], {
      onOutput: (part, stop) => ((shown += part).length > length + 20 ? stop() : undefined),
    });
    assert.is(code, 130, stderr);
    assert.ok(text(out).length > length, stderr);
    length = text(out).length;
    const second = resume.length > 0 ? ["state.before"] : [];
    assert.equal(readdirSync(into).sort(), ["state", ...second, "story.jsonl", "story.txt"]);
  }
  // a file that is another's stays, also where it is as long
  for (const own of [`x${text(out).slice(1)}`, `${text(out)}${"x".repeat(1000)}`]) {
    writeFileSync(out, own);
    let shown = "";
    const { code } = await templora([...argv, "--resume"], {
      onOutput: (part, stop) => ((shown += part).length > length + 20 ? stop() : undefined),
    });
    assert.is(code, 130);
    assert.is(text(out), own);
    rmSync(`${out}.part`);
    length += 20;
  }
  assert.is((await templora([...argv, "--resume"])).code, 0);
  assert.equal(readdirSync(into).sort(), ["story.jsonl", "story.txt"]);
});

test("records replace an old file that is longer, and writes that stop short are continued", async () => {
  const [json, out] = [join(folder, "long.jsonl"), join(folder, "long.txt")];
  writeFileSync(json, "x".repeat(1000));
  const { writeSync } = fs;
  const short = (file: number, data: Uint8Array, from = 0): number =>
    writeSync(file, data, from, Math.min(3, data.length - from));
  await withOther({ writeSync: short as typeof writeSync }, async (io, terminal) => {
    using sink = await openRecords(json, io, terminal);
    using file = await OutputFile.open(out, io, terminal);
    sink.write({ a: 1 });
    sink.write({ b: "é" });
    sink.file?.commit();
    file.write("Call me Ishmael.");
    file.commit();
  });
  assert.is(text(json), '{"a":1}\n{"b":"é"}\n');
  assert.is(text(out), "Call me Ishmael.");
});

test("an output whose last write fails is not committed", async () => {
  const out = old("last.txt");
  const full = (): never => {
    throw Object.assign(new Error("full"), { code: "ENOSPC" });
  };
  const stops = await withOther({ writeSync: full }, async (io, terminal) => {
    using file = await OutputFile.open(out, io, terminal);
    file.write("The end.");
    file.write("A text with a hole in it is not written.");
    assert.throws(() => file.commit(), /last\.txt: no space left/);
  });
  assert.is(stops.length, 1);
  assert.is(text(out), OLD);
  rmSync(`${out}.part`);
});

test("an old file that differs from what was written loses something, however far behind its beginning", async () => {
  const whole = "x".repeat(2 ** 22);
  await withOther({}, async (io, terminal) => {
    const path = join(folder, "far.txt");
    using file = await OutputFile.open(path, io, terminal);
    file.write(whole);
    assert.is(file.losesNothing, true, "none is there");
    for (const [content, losesNothing] of [
      [whole.slice(0, 2 ** 21 + 5), true],
      [`${whole.slice(0, 2 ** 21 + 5)}y`, false],
      [`${whole.slice(0, 2 ** 20)}y`, false],
      [whole, true],
      [`${whole}x`, false],
    ] as const) {
      writeFileSync(path, content);
      assert.is(file.losesNothing, losesNothing, `${content.length}`);
    }
    file.commit();
  });
});

test("an output that cannot be kept is told, also of a run that was stopped; the others are kept", async () => {
  const paths = ["first", "second", "unwritten"].map((name) => join(folder, `kept-${name}.txt`));
  const { fsyncSync } = fs;
  let tries = 0;
  const full = (file: number): void => {
    if (++tries > 1) return fsyncSync(file);
    throw Object.assign(new Error("full"), { code: "ENOSPC" });
  };
  await withOther({ fsyncSync: full }, async (io, terminal) => {
    const files = await Promise.all(paths.map((path) => OutputFile.open(path, io, terminal)));
    const stopped = keeping(files, terminal, async () => {
      for (const file of files.slice(0, 2)) file.write("Call me Ishmael.");
      await Promise.reject(new InterruptedError("Ctrl-C"));
    });
    const message = await stopped.then(
      () => "kept",
      (error: Error) => error.message,
    );
    assert.match(message, /kept-first\.txt: no space left/);
    for (const file of files) file[Symbol.dispose]();
  });
  assert.equal(paths.map((path) => existsSync(path) && text(path)), [false, "Call me Ishmael.", false]); // prettier-ignore
  rmSync(`${paths[0]}.part`);
});

test("an output is on the disk, whole, before it takes its name", async () => {
  const out = old("synced.txt");
  const events: string[] = [];
  const { fsyncSync, renameSync } = fs;
  const synced = (file: number): void => {
    const found = fs.fstatSync(file);
    events.push(found.isDirectory() ? "names on the disk" : `${found.size} bytes on the disk`);
    fsyncSync(file);
  };
  const renamed = ((from, to) => (events.push("renamed"), renameSync(from, to))) as typeof renameSync;
  await withOther({ fsyncSync: synced, renameSync: renamed }, async (io, terminal) => {
    using file = await OutputFile.open(out, io, terminal);
    file.write("Call me ");
    file.write("Ishmael.");
    file.commit();
  });
  const names = process.platform === "win32" ? [] : ["names on the disk"];
  assert.equal(events, ["16 bytes on the disk", "renamed", ...names]);
  assert.is(text(out), "Call me Ishmael.");
});

test.run();
