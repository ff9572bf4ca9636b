/** The small parts of a model, each alone: values out of files that nobody vouches for, reads from files, a cache's rows. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { Turns, atOnce } from "../engine/turns.ts";
import { BadInputError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import { InputFile, fileError, whatIs } from "../model/file.ts";
import { turning } from "../model/rope_config.ts";
import { readJson } from "../model/json_file.ts";
import { type ModelConfig, checked } from "../model/config.ts";
import { KVCache } from "../model/kv_cache.ts";
import { openModelFiles } from "../model/model_files.ts";
import * as untrusted from "../model/untrusted.ts";
import { tokenizerFromGguf } from "../model/gguf_tokenizer.ts";
import { goldenFolder } from "./support/golden.ts";
import { byteTokens, smallGguf, temporaryFolder } from "./support/model_files.ts";
import { ReferenceDevice } from "./support/reference_device.ts";

const tests = suite("model parts");
const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);

function refused(attempt: () => unknown, says: RegExp): void {
  assert.throws(attempt, (error: unknown) => error instanceof BadInputError && says.test(error.message));
}
async function refusal(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.instance(error, BadInputError);
  return (error as BadInputError).message;
}

tests("a value is what was asked for, or an error shows it", () => {
  const { asArray, asBoolean, asInteger, asObject, asPositive, asPositiveF32, asString, asStrings } =
    untrusted;
  for (const value of [2, 5]) assert.is(asInteger(value, "n", 2, 5), value);
  for (const value of [1, 6, 2.5, NaN, "3", undefined])
    refused(() => asInteger(value, "n", 2, 5), /^n: expected a whole number from 2 to 5, got /);
  refused(() => asInteger(2 ** 53, "n", 0, Infinity), /got 9007199254740992/);
  for (const value of [1e-300, 7]) assert.is(asPositive(value, "x"), value);
  for (const value of [0, -1, NaN, Infinity, "1", null])
    refused(() => asPositive(value, "x"), /^x: expected a number above 0, got /);
  const [least, most] = [2 ** -126, (2 - 2 ** -23) * 2 ** 127]; // float32's smallest normal number and its largest
  for (const value of [least, 1, most]) assert.is(asPositiveF32(value, "x"), value);
  for (const value of [least / 2, 2 ** 128])
    refused(() => asPositiveF32(value, "x"), /not within the range of float32/);
  for (const value of [true, false]) assert.is(asBoolean(value, "b"), value);
  refused(() => asBoolean("true", "b"), /^b: expected true or false, got "true"$/);
  assert.is(asString("", "s"), "");
  refused(() => asString(3, "s"), /^s: expected a string, got 3$/);
  assert.equal(asArray([1], "a"), [1]);
  refused(() => asArray({ length: 1 }, "a"), /^a: expected a list, got \{"length":1\}$/);
  assert.equal(asStrings(["a", "b"], "a"), ["a", "b"]);
  refused(() => asStrings(["a", 1], "a"), /^a\[1\]: expected a string, got 1$/);
  assert.equal(asObject({ a: 1 }, "o"), { a: 1 });
  for (const value of [null, [], "text", undefined])
    refused(() => asObject(value, "o"), /^o: expected a JSON object, got (null|\[\]|"text"|nothing)$/);
  assert.is(untrusted.show(12n), "12");
  assert.is(untrusted.show("x".repeat(58)), JSON.stringify("x".repeat(58)));
  assert.is(untrusted.show("x".repeat(59)), `"${"x".repeat(56)}...`);
  assert.is(untrusted.show([1, "a", null, { b: [true] }]), '[1,"a",null,{"b":[true]}]');
  assert.is(untrusted.show([1n, { a: 2n }]), '[1,{"a":2}]');
  assert.is(untrusted.show(Array(30).fill("ab")), `[${'"ab",'.repeat(30).slice(0, 56)}...`);
  const deep = JSON.parse(`${'{"a":['.repeat(20_000)}${"]}".repeat(20_000)}`) as unknown;
  assert.is(untrusted.show(deep), `${'{"a":['.repeat(10).slice(0, 57)}...`);
  assert.is(untrusted.quote("y".repeat(80)), JSON.stringify("y".repeat(80)));
  assert.is(untrusted.quote(`\n${"y".repeat(80)}`), JSON.stringify(`\n${"y".repeat(76)}...`));
});

tests("a file is read where it is asked for, and not beyond its end", async () => {
  writeFileSync(
    at("ten"),
    Uint8Array.from({ length: 10 }, (_, i) => i),
  );
  const file = await InputFile.open(at("ten"));
  assert.is(file.size, 10);
  assert.equal([...(await file.read(3, 4))], [3, 4, 5, 6]);
  assert.equal([...(await file.read(0, 10))], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.is((await file.read(10, 0)).length, 0);
  for (const [start, length] of [
    [-1, 2],
    [3, -1],
    [8, 3],
  ] as const)
    assert.match(await refusal(file.read(start, length)), /past its end at 10/);
  writeFileSync(at("ten"), "short");
  assert.match(await refusal(file.read(0, 10)), /it became shorter while it was read/);
  await file.close();
  await file.close();
  assert.match(await refusal(file.read(0, 1)), /read after it was closed/);
  mkdirSync(at("folder"));
  assert.match(await refusal(InputFile.open(at("folder"))), /not a regular file|this is a folder/);
  assert.match(await refusal(InputFile.open(at("none"))), /none: no such file; check the path$/);
  for (const [name, what] of [
    ["ten", "file"],
    ["folder", "folder"],
    ["none", "nothing"],
    ["ten/in", "nothing"],
  ] as const)
    assert.is(await whatIs(at(name)), what);
  assert.match(
    await refusal(InputFile.open(at("ten/in"))),
    /ten\/in: no such file; a part of the path is not a folder$/,
  );
  assert.match(await refusal(whatIs("/dev/null")), /neither a file nor a folder/);
  if (process.platform !== "win32") {
    execFileSync("mkfifo", [at("pipe")]);
    assert.match(await refusal(whatIs(at("pipe"))), /pipe: neither a file nor a folder$/);
  }
  assert.match(await refusal(whatIs("\0")), /cannot be read/);
  for (const [code, words] of [
    ["ENOTDIR", /a part of the path is not a folder$/],
    ["EISDIR", /this is a folder; a file is expected$/],
    ["EACCES", /no permission to read it$/],
    ["EPERM", /no permission to read it$/],
    ["EIO", /^p: cannot be read \(EIO\)$/],
  ] as const)
    assert.match(fileError("p", Object.assign(new Error("it failed"), { code })).message, words);
  assert.is(fileError("p", "odd").message, "p: cannot be read (odd)");
  writeFileSync(at("a.json"), "[12]");
  assert.equal(await readJson(at("a.json"), 4), [12]);
  assert.match(await refusal(readJson(at("a.json"), 3)), /4 bytes; at most 3 are sensible here/);
  for (const [json, says] of [
    ["[12", /a\.json: not valid JSON; is it complete\? /],
    ['["\r', /a\.json: not valid JSON; is it complete\? [^\r]+$/],
    ["[1,\r\n x]", /a\.json: not valid JSON; is it complete\? Unexpected token 'x', [^\r\n]+$/],
    [`["${"x".repeat(2 ** 22)}"]`, /no end of the string at 1 within 4194304 characters$/],
    [`[${"1,".repeat(2 ** 16)}x]`, /Unexpected token 'x'.*, in characters 65\d+ to 131074$/],
    [" ", /a\.json: the text is empty/],
    [Buffer.from([0x5b, 0xe4, 0x5d]), /a\.json: not UTF-8 at byte offset 1/],
  ] as const) {
    writeFileSync(at("a.json"), json);
    assert.match(await refusal(readJson(at("a.json"), 2 ** 24)), says);
  }
  for (const json of [
    Buffer.from("\ufeff[12]"),
    Buffer.from("\ufeff[12]", "utf16le"),
    Buffer.from("\ufeff[12]", "utf16le").swap16(),
  ]) {
    writeFileSync(at("a.json"), json);
    assert.equal(await readJson(at("a.json"), json.length), [12]);
  }
  assert.match(await refusal(readJson(at("none"), 4)), /no such file/);
});

tests("the part of a head that turns is even, and no larger than the head", () => {
  assert.equal(turning(16, 16, "c"), {});
  for (const part of [2, 14]) assert.equal(turning(part, 16, "c"), { rotary_dim: part });
  for (const part of [0, 1, 3, 18])
    assert.throws(() => turning(part, 16, "c"), `c: ${part} of a head's 16 dimensions turn`);
});

tests("long work gives the event loop its turn when it is due, and no more often", async () => {
  const now = performance.now.bind(performance);
  let [time, turned] = [0, 0];
  performance.now = () => time;
  try {
    const turns = new Turns(() => turned++);
    await turns.rest();
    assert.is(turned, 1, "the first comes at once");
    for (const [passed, due] of [
      [0, 0],
      [15.9, 0],
      [0.2, 1],
      [0, 0],
      [16, 1],
    ] as const) {
      const before = turned;
      time += passed;
      await turns.rest();
      assert.is(turned - before, due, `${passed} ms`);
    }
  } finally {
    performance.now = now;
  }
});

tests("reads that stop short are continued where they stopped", async () => {
  writeFileSync(
    at("hundred"),
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );
  const handle = await fs.open(at("hundred"));
  const prototype = Object.getPrototypeOf(handle) as { read: (...args: unknown[]) => Promise<unknown> };
  await handle.close();
  const { read } = prototype;
  prototype.read = function (buffer, offset, length, position) {
    return read.call(this, buffer, offset, Math.min(7, Number(length)), position);
  };
  try {
    const file = await InputFile.open(at("hundred"));
    assert.equal([...(await file.read(3, 40))], Array.from({ length: 40 }, (_, i) => 3 + i)); // prettier-ignore
    await file.close();
  } finally {
    prototype.read = read;
  }
});

tests("the fields of a configuration fit together", () => {
  const config = {
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 6,
    vocab_size: 9,
    bos_token_id: 8,
    eos_token_ids: [0, 8],
  } as unknown as ModelConfig;
  assert.is(checked(config, "c"), config);
  checked({ ...config, bos_token_id: null }, "c");
  for (const [change, says] of [
    [{ num_key_value_heads: 3 }, /4 attention heads cannot share 3 key\/value heads/],
    [{ head_dim: 7 }, /head_dim 7 is odd/],
    [{ bos_token_id: 9 }, /token id 9 is outside the vocabulary of 9/],
    [{ eos_token_ids: [1, 10] }, /token id 10 is outside/],
    [{ bos_token_id: null, eos_token_ids: [9] }, /token id 9 is outside/],
  ] as const)
    refused(() => checked({ ...config, ...change }, "c"), says);
});

tests("a cache counts its rows, holds what fits, and forgets", async () => {
  const device = new ReferenceDevice();
  const config = { layers: [{}, {}], num_key_value_heads: 1, head_dim: 2 } as unknown as ModelConfig;
  using task = new Task(device);
  using cache = new KVCache(device, config, 5);
  assert.equal([cache.append(3), cache.append(2), cache.length], [0, 3, 5]);
  assert.throws(() => cache.append(1), /capacity of 5/);
  assert.is(cache.length, 5);
  assert.equal(cache.rows(1, 4, 1).k.shape, [5, 1, 2]);
  assert.throws(() => cache.rows(2, 0, 1), /no layer 2/);
  assert.throws(() => cache.rows(0, 4, 2), /capacity of 5/);
  cache.rewind(5);
  cache.rewind(4);
  assert.throws(() => cache.rewind(5), /cannot rewind/);
  assert.throws(() => cache.slide(task, 5, 0), /cannot keep 5 of 4 tokens/);
  cache.slide(task, 4, 0);
  assert.equal([cache.length, cache.position], [4, 0]);
  cache.slide(task, 1, 3); // fewer rows than sinks
  assert.equal([cache.length, cache.position], [1, 3]);
  const snapshot = await cache.snapshot();
  assert.throws(() => cache.restore({ ...snapshot, rows: snapshot.rows.slice(1) }, 0), /3 buffers restored/);
  assert.throws(() => cache.restore({ ...snapshot, length: 6 }, 0), /capacity of 5/);
  cache.clear();
  assert.equal([cache.length, cache.position], [0, 0]);
  const empty = await cache.snapshot();
  assert.equal(
    empty.rows.map(({ length }) => length),
    [0, 0, 0, 0],
  );
  cache.restore(empty, 7);
  cache.begin(8); // an empty cache is no adapter's
  cache.append(1);
  assert.throws(() => cache.begin(9), /keys of adapter revision 8, read with revision 9/);
  cache.begin(8);
});

tests(
  "a GGUF file's name for its words says how digits are split, and whether a text begins with bos",
  () => {
    // llama.cpp's llama-vocab.cpp: the regular expressions of each pre-tokenizer, and which add bos by themselves.
    const tokens = [...byteTokens, "<|end|>", "<|begin|>", "12"];
    const types = [...byteTokens.map(() => 1), 3, 3, 1];
    for (const [names, want] of [
      [["gpt-2"], ["12"]],
      [
        ["smollm", "starcoder", "refact", "codeshell", "command-r"],
        ["1", "2"],
      ],
      [
        ["llama-bpe", "llama3", "llama-v3"],
        ["<|begin|>", "12"],
      ],
    ] as const)
      for (const pre of names) {
        const { metadata } = smallGguf({
          ...{ "tokenizer.ggml.pre": pre, "tokenizer.ggml.merges": ["1 2"] },
          ...{ "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types },
        });
        const ids = { bosId: 257, eosIds: [256] };
        const tokenizer = atOnce(tokenizerFromGguf(new Map(Object.entries(metadata)), ids, "words"));
        assert.equal(
          tokenizer.encode("12").map((id) => tokens[id]),
          want,
          pre,
        );
      }
  },
);

tests(
  "the chat template is the folder's, the one called default of several, that in a file of its own, or none",
  async () => {
    cpSync(fileURLToPath(new URL("tiny-tied", goldenFolder)), at("chat"), { recursive: true });
    const path = at("chat/tokenizer_config.json");
    const template = "{{ messages[0].content }}!";
    const named = (name: string): object => ({ name, template: name === "default" ? template : "another" });
    for (const [chat_template, there] of [
      [template, true],
      [[named("tool_use"), named("default")], true],
      [[named("tool_use")], false],
      [3, false],
      [undefined, false],
    ] as const) {
      writeFileSync(path, JSON.stringify({ chat_template }));
      await using modelFiles = await openModelFiles(at("chat"));
      const { tokenizer } = modelFiles;
      assert.is(tokenizer.hasChatTemplate, there, JSON.stringify(chat_template));
      if (there) assert.is(tokenizer.chatText([{ role: "user", content: "hi" }]), "hi!");
    }
    for (const chat_template of [template, undefined]) {
      writeFileSync(path, JSON.stringify({ chat_template }));
      writeFileSync(at("chat/chat_template.jinja"), "{{ messages[0].content }}?"); // transformers takes it, too
      await using modelFiles = await openModelFiles(at("chat"));
      assert.is(modelFiles.tokenizer.chatText([{ role: "user", content: "hi" }]), "hi?");
    }
  },
);

tests("what is kept is in the folder that the environment names, else in the home folder", () => {
  assert.is(cacheFolder({ TEMPLORA_CACHE: "/there" }), "/there");
  for (const env of [{}, { TEMPLORA_CACHE: "" }])
    assert.is(cacheFolder(env), join(homedir(), ".cache/templora"));
});

tests.run();
