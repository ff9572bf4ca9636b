/** Texts of any length: decoded as they stream, no more of them read than was asked for, and Ctrl-C heard meanwhile. */
import { execFile, execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import fc from "./support/fast_check.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { rejects } from "node:assert/strict";
import { openModelFiles } from "../model/model_files.ts";
import { decodeText, readText, readTextParts, wholeText } from "../model/text.ts";
import type { Io } from "../cli/output.ts";
import { untilStopped } from "../cli/signals.ts";
import { textsIn } from "../cli/texts.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { openIn } from "./support/open_files.ts";

const test = suite("texts");
const folder = mkdtempSync(join(tmpdir(), "templora-texts-"));
test.after(() => rmSync(folder, { recursive: true }));
process.env["TEMPLORA_CACHE"] = join(folder, "cache");
const at = (name: string, content: string | Uint8Array = "x"): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const model = fileURLToPath(new URL("tiny-tied", goldenFolder));
const book = await readText(fileURLToPath(new URL("moby-dick-excerpt.txt", goldenFolder)));
const quick = `--model ${model} --device cpu --threads 1 --chunk 64 --window 64 --no-templora`.split(" ");

function utf16(text: string, littleEndian: boolean): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(2 * text.length + 2));
  [0xfeff, ...Array.from({ length: text.length }, (_, i) => text.charCodeAt(i))].forEach((unit, i) =>
    bytes.setUint16(2 * i, unit, littleEndian),
  );
  return new Uint8Array(bytes.buffer);
}
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

test("bytes in parts of any size make the same text: UTF-8 with and without a byte order mark, UTF-16 of both kinds", async () => {
  const text = fc
    .string({ unit: "binary", minLength: 1, maxLength: 60 })
    .map((t) => `\ufeffé${t.replaceAll("\0", "x")}`);
  await fc.assert(
    fc.asyncProperty(text, fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 300 }), async (t, sizes) => {
      for (const bytes of [utf8(`\ufeff${t}`), utf8(`x${t}`), utf16(t, true), utf16(t, false)]) {
        let start = 0;
        const parts = [...sizes.map((size) => bytes.subarray(start, (start += size))), bytes.subarray(start)];
        const expected = bytes[0] === 0x78 ? `x${t}` : t;
        assert.is(await wholeText(decodeText(parts, "t"), "t"), expected);
      }
    }),
    { numRuns: 200 },
  );
});

test("what is none of these is refused, and no encoding is named that was not recognised", async () => {
  for (const [bytes, says] of [
    [[0x63, 0x61, 0x66, 0xe9], /not UTF-8 at byte offset 3; .*iconv -f ENCODING/],
    [[0xff, 0xfe, 0, 0, 0x61, 0, 0, 0], /UTF-32; convert it first: iconv -f utf-32 -t utf-8/],
    [[0, 0, 0xfe, 0xff, 0, 0, 0, 0x61], /UTF-32; convert it first/],
    [[0xff, 0xfe, 0x61, 0, 0x62], /not valid UTF-16/],
    [[0xff, 0xfe, 0x61, 0, 0, 0xd8], /not valid UTF-16/],
  ] as const) {
    const error = await readText(at("bad.txt", Uint8Array.from(bytes))).then(String, String);
    assert.match(error, says);
    assert.not.match(error, "latin1");
  }
});

test("an invalid byte is told by its place in the file, whatever parts it comes in and behind a byte order mark", async () => {
  const mark = Buffer.from("\ufeff");
  const text = Buffer.concat([mark, Buffer.from("Call mé Ishmael."), Buffer.of(0xff), Buffer.from("Some")]);
  for (const size of [1, 2, 3, 5, 8, text.length]) {
    const parts = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
      text.subarray(i * size, (i + 1) * size),
    );
    await rejects(wholeText(decodeText(parts, "t"), "t"), new RegExp(`^[^:]*: t: not UTF-8 at byte offset ${text.indexOf(0xff)};`)); // prettier-ignore
  }
});

test("what fits into no string is refused before it is put together", async () => {
  function* parts(): Generator<string> {
    const part = "x".repeat(2 ** 20);
    for (let i = 0; i < 600; i++) yield part;
  }
  await rejects(
    wholeText(parts(), "big.txt"),
    /big\.txt: longer than the 268435456 characters that fit here/,
  );
});

test("a file is closed when it has been read, and when the reader had enough", async () => {
  const path = at("closed.txt", book.repeat(30));
  for await (const _ of readTextParts(path));
  assert.equal(openIn(path), []);
  for await (const _ of readTextParts(path)) break;
  assert.equal(openIn(path), []);
});

test("how much is read, of how much: the file's size, or more where it grows; of a pipe what has come", async () => {
  const reads = async (path: string, more = ""): Promise<[done: number, total: number][]> => {
    const found: [number, number][] = [];
    const parts = readTextParts(path, (done, total) => {
      if (found.length === 0) appendFileSync(path, more);
      found.push([done, total]);
    });
    for await (const _ of parts);
    return found;
  };
  const part = 2 ** 16;
  const path = at("reads.txt", "x".repeat(2 * part + 5));
  assert.equal(
    await reads(path),
    [part, 2 * part, 2 * part + 5].map((done) => [done, 2 * part + 5]),
  );
  const grown = await reads(path, "y".repeat(part));
  assert.equal(grown.slice(0, 2), [part, 2 * part].map((done) => [done, 2 * part + 5])); // prettier-ignore
  assert.equal(grown.at(-1), [3 * part + 5, 3 * part + 5]);
  if (process.platform !== "linux") return;
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  const writer = promisify(execFile)("sh", ["-c", `printf 'Call me Ishmael.' > '${pipe}'`]);
  const piped: [number, number][] = [];
  for await (const _ of readTextParts(pipe, (...read) => piped.push(read)));
  await writer;
  assert.equal(piped.at(-1), [16, 16]);
});

test("UTF-16 without a byte order mark is not read as UTF-8 with zeros", async () => {
  for (const littleEndian of [true, false]) {
    const bytes = utf16("Call me Ishmael. ".repeat(10), littleEndian).subarray(2);
    await rejects(async () => {
      await wholeText(decodeText([bytes], "t"), "t");
    }, /t: more than a quarter of its first 340 bytes are zero, .* iconv -f ENCODING/);
  }
});

test("a text that comes from a pipe without a writer, and one called -", async () => {
  const stop = new AbortController();
  async function* silent(): AsyncGenerator<string> {
    yield "Call";
    await new Promise(() => setImmediate(() => stop.abort(new Error("stopped"))));
  }
  const got: string[] = [];
  await rejects(async () => {
    for await (const part of untilStopped(silent(), { signal: stop.signal } as Io)) got.push(part);
  }, /stopped/);
  assert.equal(got, ["Call"]);
  const { code, stderr } = await templora(["ppl", "-", ...quick]);
  assert.is(code, 2);
  assert.match(stderr, /-: no file; standard input is \/dev\/stdin/);
});

test("a file whose read was on its way when the reader stopped is closed after it", async () => {
  const stop = new AbortController();
  const turn = (): Promise<void> => new Promise((resume) => setImmediate(resume));
  let closed = false;
  async function* late(): AsyncGenerator<string> {
    try {
      await turn();
      stop.abort(new Error("stopped"));
      await turn();
      yield "Call";
    } finally {
      closed = true;
    }
  }
  await rejects(untilStopped(late(), { signal: stop.signal } as Io).next(), /stopped/);
  assert.is(closed, false);
  await turn().then(turn);
  assert.is(closed, true);
});

test("a folder's texts, in the order of their names, stand where the folder does", () => {
  const books = join(folder, "books");
  mkdirSync(books);
  for (const name of ["m", "b", "10", "2", "z", "c", "a"]) at(join("books", `${name}.txt`));
  for (const other of ["notes.txt.bak", "n.md", "txt"]) at(join("books", other));
  const [first, last] = [at("first.md"), at("last.txt")];
  assert.equal(textsIn([first, books, last, join(folder, "none")]), [
    first,
    ...["10", "2", "a", "b", "c", "m", "z"].map((name) => join(books, `${name}.txt`)),
    ...[last, join(folder, "none")],
  ]);
  mkdirSync(join(folder, "bare"));
  at(join("bare", "x.md"));
  assert.throws(() => textsIn([join(folder, "bare")]), /bare: a folder without \.txt files/);
});

test("a text longer than any string is read; of one as long, no more than was asked for", async () => {
  const path = at("long.txt", book.repeat(20));
  truncateSync(path, 600 * 2 ** 20); // the rest is NULs, which are UTF-8
  let length = 0;
  for await (const part of readTextParts(path)) length += part.length;
  assert.ok(length > 599 * 2 ** 20);
  truncateSync(path, 3 * 2 ** 30);
  const { code, stdout, stderr } = await templora([
    "ppl",
    path,
    ...quick,
    "--max-tokens",
    "128",
    "--json",
    "-",
  ]);
  assert.is(code, 0, stderr);
  assert.is(jsonLines(stdout).at(-1)?.["tokens"], 127);
  const endless = await templora(["ppl", path, ...quick]);
  assert.is(endless.code, 2);
  assert.match(endless.stderr, /16777216 characters without a place between words/);
});

/** How often the event loop may have its turn while `work` runs: a clock says that it is due whenever it is asked. */
async function chancesOf<T>(work: (onTurn: () => void) => Promise<T>): Promise<[T, number]> {
  const now = performance.now.bind(performance);
  let [clock, chances] = [0, 0];
  performance.now = () => (clock += 1e6);
  try {
    return [await work(() => chances++), chances];
  } finally {
    performance.now = now;
  }
}

test("tokenising gives the event loop its turn, whatever the text is", async () => {
  await using modelFiles = await openModelFiles(model);
  const joined = book.replaceAll(/[^a-z]/g, "");
  for (const text of [
    book.repeat(100),
    joined.repeat(100),
    " ".repeat(5e5),
    "12".repeat(4e5),
    "鲸".repeat(2e5),
  ]) {
    const expected = modelFiles.tokenizer.encode(text);
    const [ids, chances] = await chancesOf((onTurn) => modelFiles.tokenizer.encodeParts([text], { onTurn }));
    assert.is(ids.length, expected.length);
    // a word's letters and its joins are 4,096 steps between two chances, words one
    assert.ok(chances >= text.length / 4096, `${chances} chances in ${text.length} characters`);
  }
});

test("Ctrl-C while a book is tokenised; its progress is shown", async () => {
  const path = at("book.txt", "Call me Ishmael. ".repeat(500_000));
  const whole = ["ppl", path, ...quick];
  const { code, stdout, stderr } = await templora(whole, {
    terminal: true,
    onError: (text, stop) => {
      if (/tokens of .*book\.txt/.test(text)) stop();
    },
  });
  assert.is(code, 130);
  assert.is(stdout, "");
  assert.match(stderr, /MiB of 8\.1 MiB, 0:\d\d left/);
});

test("--special: what is written like a special token in a text is one", async () => {
  const path = at("special.txt", "<|eos|>".repeat(40));
  const tokens = async (...flags: string[]): Promise<[number, unknown]> => {
    const { code, stdout, stderr } = await templora(["ppl", path, ...quick, ...flags, "--json", "-"]);
    assert.is(code, 0, stderr);
    const lines = jsonLines(stdout);
    return [Number(lines.at(-1)?.["tokens"]), lines[0]?.["special"]];
  };
  assert.equal(await tokens("--special"), [39, true]);
  const [pieces, special] = await tokens();
  assert.ok(pieces > 2 * 40 && special === undefined, `${pieces}`);
});

test("a long prompt: how much is learnt first, and how long that takes", async () => {
  const long = at("prompt.txt", book.slice(0, 1500));
  const learning = quick.filter((flag) => flag !== "--no-templora");
  const { code, stderr } = await templora(["generate", "--prompt-file", long, "--tokens", "1", ...learning]);
  assert.is(code, 0, stderr);
  const [, tokens] = /prompt of ([\d,]+) tokens/.exec(stderr) ?? [];
  const updates = Math.floor(Number(tokens?.replace(",", "")) / 64);
  assert.match(stderr, `first ${updates} updates on the prompt\n`);
  assert.match(stderr, new RegExp(`the text begins after ${updates - 1} more, in about \\d+:\\d\\d\n`));
});

test.run();
