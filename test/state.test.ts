/** A run's state on disk: what may be replaced or removed, whole writes, and what a run must share with the one that it resumes. */
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { identityOf } from "../cli/identity.ts";
import { openModelFiles } from "../model/model_files.ts";
import { loadRun, ownerOf, saveRun } from "../templora/state.ts";
import { changedModel } from "./support/changed_model.ts";
import { type CallOptions, type Outcome, jsonLines, templora } from "./support/cli.ts";

const test = suite("state");
const folder = mkdtempSync(join(tmpdir(), "templora-state-"));
const at = (name: string): string => join(folder, name);
process.env["TEMPLORA_CACHE"] = at("cache");
test.after(() => rmSync(folder, { recursive: true }));

const tiny = "test/golden/tiny-tied";
const book = "test/golden/moby-dick-excerpt.txt";
const ppl = (model: string, state: string, ...flags: string[]): string[] => [
  ...["ppl", book, "--model", model, "--device", "cpu", "--threads", "1", "--state", state, "--json", "-"],
  ...["--chunk", "64", "--window", "64", "--rank", "4", "--dropout", "0", "--max-tokens", "200", ...flags],
];

/** Runs a command that is stopped at its second chunk. */
function interrupted(argv: string[]): Promise<Outcome> {
  let chunks = 0;
  const onOutput: CallOptions["onOutput"] = (text, stop) => {
    if (text.includes('"chunk"') && ++chunks === 2) stop();
  };
  return templora(argv, { onOutput });
}

async function rejection(attempt: Promise<unknown>): Promise<string> {
  let said = "no error";
  await attempt.catch((error: unknown) => (said = String(error)));
  return said;
}

const some = {
  ...{ chunks: 3, steps: 6 },
  ids: Int32Array.of(1, -2, 3),
  values: Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i)),
  m: Float32Array.from({ length: 5000 }, (_, i) => Math.cos(i)),
  v: Float32Array.from({ length: 5000 }, (_, i) => i),
};

test("a file that is no state is refused before any work, and left as it is", async () => {
  for (const text of ["dear diary\n", "", "{}\n", '{"magic":"other"}\n']) {
    writeFileSync(at("diary.txt"), text);
    for (const flags of [[], ["--resume"]]) {
      const { code, stdout, stderr } = await templora(ppl(tiny, at("diary.txt"), ...flags));
      assert.is(code, 2, stderr);
      assert.is(stdout, "");
      assert.match(stderr, /^templora: [^\n]*diary\.txt: not a state file of templora[^\n]*\n$/);
      assert.is(readFileSync(at("diary.txt"), "utf8"), text);
    }
  }
});

test("a place that cannot be written is refused before any work", async () => {
  const { code, stdout, stderr } = await templora(ppl(tiny, `${book}/x.state`));
  assert.is(code, 2, stderr);
  assert.is(stdout, "");
  assert.match(stderr, /^templora: [^\n]*x\.state: [^\n]*\n$/);
  const isFolder = await templora(ppl(tiny, folder));
  assert.is(isFolder.code, 2, isFolder.stderr);
});

test("a complete run removes its own state, and no other's", async () => {
  const [own, others] = [at("own.state"), at("others.state")];
  assert.is((await interrupted(ppl(tiny, own))).code, 130);
  assert.is((await templora(ppl(tiny, own))).code, 0);
  assert.not.ok(existsSync(own), "that of the same command is of no more use");
  assert.is((await interrupted(ppl(tiny, others, "--seed", "7"))).code, 130);
  const before = readFileSync(others);
  assert.is((await templora(ppl(tiny, others))).code, 0);
  assert.equal(readFileSync(others), before);
});

test("a state comes back as it was, NaN and infinities included", async () => {
  const facts = { texts: [{ records: [{ base_nll: NaN, lr: Infinity, none: null }], snapshot: some }] };
  await saveRun(at("run.state"), { identity: "ab12", facts });
  assert.is(await ownerOf(at("run.state")), "ab12");
  assert.is(await ownerOf(at("missing.state")), null);
  assert.equal(await loadRun(at("run.state"), "ab12"), { identity: "ab12", facts });
  assert.match(await rejection(loadRun(at("run.state"), "cd34")), /state of another run/);
});

test("a state is whole when writes stop short, and the old one stays when they fail", async () => {
  const handle = await open(at("probe"), "w");
  const prototype = Object.getPrototypeOf(handle) as object;
  await handle.close();
  const saved = Object.getOwnPropertyDescriptors(prototype);
  const write = saved["write" as keyof typeof saved]?.value as FileHandle["write"];
  try {
    // What `write` may do: a part of the bytes.
    const short = function (this: FileHandle, data: Uint8Array | string): unknown {
      return Reflect.apply(write, this, [Buffer.from(data as Uint8Array).subarray(0, 100)]);
    };
    Object.assign(prototype, { write: short });
    await saveRun(at("short.state"), { identity: "ab12", facts: some });
    assert.equal((await loadRun(at("short.state"), "ab12"))?.facts, some);
    Object.assign(prototype, { sync: () => Promise.reject(new Error("the disk is gone")) });
    const failing = saveRun(at("short.state"), { identity: "cd34", facts: {} });
    assert.match(await rejection(failing), /the disk is gone/);
  } finally {
    Object.defineProperties(prototype, saved);
  }
  assert.equal((await loadRun(at("short.state"), "ab12"))?.facts, some);
  assert.equal(
    readdirSync(folder).filter((name) => name.includes(".tmp")),
    [],
  );
});

test("a state of any other length, or of another version, is refused", async () => {
  const facts = { a: Float32Array.of(1, 2, 3), b: Int32Array.of(4, 5) };
  await saveRun(at("whole.bytes"), { identity: "ab12", facts });
  const bytes = readFileSync(at("whole.bytes"));
  const longer = Buffer.concat([bytes, Buffer.alloc(4)]);
  for (const other of [bytes.subarray(0, -1), bytes.subarray(0, -4), bytes.subarray(0, -12), longer]) {
    writeFileSync(at("other.bytes"), other);
    assert.match(await rejection(loadRun(at("other.bytes"), "ab12")), /truncated/, `${other.length} bytes`);
  }
  const older = bytes.toString("latin1").replace(/templora-state-\d+/, "templora-state-1");
  writeFileSync(at("old.bytes"), older, "latin1");
  assert.match(await rejection(loadRun(at("old.bytes"), "ab12")), /not a state file/);
});

test("a state that cannot be read is not taken for none", async () => {
  writeFileSync(at("file"), "");
  assert.is(await loadRun(at("nowhere/at.all"), "ab12"), null);
  assert.is(await ownerOf(at("nowhere/at.all")), null);
  for (const place of [folder, at("file/below")])
    assert.match(await rejection(loadRun(place, "ab12")), /: cannot read the state: /);
  assert.match(await rejection(ownerOf(at("file/below"))), /: cannot read the state: ENOTDIR/);
  const said = `BadInputError: ${folder}: not a state file of templora, so it is left as it is; name another file, or remove it`;
  assert.is(await rejection(ownerOf(folder)), said);
});

test("arrays that are windows of a buffer are written as they are", async () => {
  const all = Float32Array.of(1, 2, 3, 4, 5);
  await saveRun(at("window.state"), { identity: "ab12", facts: { part: all.subarray(2, 4) } });
  const loaded = await loadRun<{ part: Float32Array }>(at("window.state"), "ab12");
  assert.equal(loaded?.facts.part, Float32Array.of(3, 4));
});

test("another configuration or tokenizer is another identity; another place is not", async () => {
  const of = async (name: string, file = "", change = (text: string): string => text): Promise<string> => {
    cpSync(tiny, at(name), { recursive: true });
    const path = at(`${name}/${file}`);
    if (file !== "") writeFileSync(path, change(readFileSync(path, "utf8")));
    await using modelFiles = await openModelFiles(at(name));
    return await identityOf("ppl", modelFiles, {}, () => undefined);
  };
  const same = await of("id-same");
  assert.is(await of("id-again"), same);
  const theta = (text: string): string => text.replace(/("rope_theta": )10000/, "$120000");
  assert.is.not(await of("id-theta", "config.json", theta), same);
  const swapped = (text: string): string => {
    const json = JSON.parse(text) as { model: { vocab: Record<string, number> } };
    const { A = NaN, B = NaN } = json.model.vocab;
    Object.assign(json.model.vocab, { A: B, B: A });
    return JSON.stringify(json);
  };
  assert.is.not(await of("id-tokens", "tokenizer.json", swapped), same);
});

test("where the state cannot be saved, what was written is kept, and a run that is not stopped continues", async () => {
  const write = (place: string): string[] => [
    ...["generate", "--prompt", "Call me Ishmael.", "--tokens", "200", "--model", tiny, "--device", "cpu"],
    ...["--threads", "1", "--chunk", "24", "--window", "24", "--rank", "4", "--out", at("story.txt")],
    ...["--state", at(`${place}/s.state`)],
  ];
  const ruin = (place: string): void => {
    rmSync(at(place), { recursive: true, force: true });
    writeFileSync(at(place), "no folder any more");
  };
  let told = 0;
  const stopped = await templora(write("gone"), {
    onOutput: (_text, stop) => {
      told++;
      if (told !== 5) return;
      ruin("gone");
      stop();
    },
  });
  assert.is(stopped.code, 1, stopped.stderr);
  assert.match(stopped.stderr, /stopped, but the state is lost: .*s\.state/);
  assert.ok(readFileSync(at("story.txt"), "utf8").length > 0);
  process.env["TEMPLORA_SAVE_EVERY_MS"] = "0";
  try {
    const whole = await templora(write("going"), {
      onOutput: () => (existsSync(at("going/s.state")) ? ruin("going") : undefined),
    });
    assert.is(whole.code, 0, whole.stderr);
    assert.match(whole.stderr, /the state is not saved: .*; the run goes on/);
  } finally {
    delete process.env["TEMPLORA_SAVE_EVERY_MS"];
  }
});

test("a run is resumed where the model's contents are the same, and nowhere else", async () => {
  const state = at("model.state");
  const whole = await templora(ppl(tiny, at("whole.state")));
  assert.is((await interrupted(ppl(tiny, state))).code, 130);
  changedModel(tiny, at("changed"), "model.norm.weight", (values) => (values[0] = 1.0625));
  const other = await templora(ppl(at("changed"), state, "--resume"));
  assert.is(other.code, 2, "other weights");
  assert.match(other.stderr, /the state of another run/);
  cpSync(tiny, at("moved"), { recursive: true });
  const moved = await templora(ppl(at("moved"), state, "--resume"));
  assert.is(moved.code, 0, moved.stderr);
  const last = ({ stdout }: Outcome): unknown => jsonLines(stdout).at(-1)?.["lora_ppl"];
  assert.is(last(moved), last(whole));
});

test("the weights are read for the identity once, and again when the file has changed", async () => {
  cpSync(tiny, at("counted"), { recursive: true });
  const modelFiles = await openModelFiles(at("counted"));
  let reads = 0;
  const counted = {
    ...modelFiles,
    read(name: string) {
      reads++;
      return modelFiles.read(name);
    },
  };
  const identity = (): Promise<string> => identityOf("ppl", counted, {}, () => undefined);
  const first = await identity();
  assert.is(reads, modelFiles.tensors.size);
  assert.is(await identity(), first);
  assert.is(reads, modelFiles.tensors.size);
  utimesSync(at("counted/model.safetensors"), 1, 1);
  assert.is(await identity(), first);
  assert.is(reads, 2 * modelFiles.tensors.size);
  await modelFiles.close();
});

test("resumed under another build, a run continues and says so on stderr and in its record", async () => {
  const state = at("build.state");
  const build = async (name: string, attempt: () => Promise<Outcome>): Promise<Outcome> => {
    process.env["TEMPLORA_CPU_BUILD"] = name;
    try {
      return await attempt();
    } finally {
      delete process.env["TEMPLORA_CPU_BUILD"];
    }
  };
  assert.is((await build("plain", () => interrupted(ppl(tiny, state)))).code, 130);
  const resumed = await build("relaxed", () => interrupted(ppl(tiny, state, "--resume")));
  assert.is(resumed.code, 130);
  // Again under the second build: the first part was still computed under the first.
  const again = await build("relaxed", () => templora(ppl(tiny, state, "--resume")));
  assert.is(again.code, 0, again.stderr);
  for (const { stdout, stderr } of [resumed, again]) {
    assert.match(
      stderr,
      /^templora: resumed under other numerics \(build relaxed\) than before \(build plain\)/m,
    );
    const [config] = jsonLines(stdout);
    assert.is((config?.["resumed_under"] as { build?: string }).build, "relaxed");
    assert.is((config?.["begun_under"] as { build?: string }).build, "plain");
  }
  const plain = await build("plain", () => interrupted(ppl(tiny, state)));
  assert.not.ok("resumed_under" in (jsonLines(plain.stdout)[0] ?? {}));
  const same = await build("plain", () => templora(ppl(tiny, state, "--resume", "--threads", "2")));
  assert.not.match(same.stderr, /other numerics/);
});

test.run();
