/** A run's state on disk: what may be replaced or removed, whole writes, and what a run must share with the one that it resumes. */
import fs, {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createHash } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { identityOf } from "../cli/identity.ts";
import { RunState } from "../cli/state.ts";
import { openModelFiles } from "../model/model_files.ts";
import { MAGIC, loadRun, ownerOf, saveRun } from "../templora/state.ts";
import { changedModel } from "./support/changed_model.ts";
import {
  type CallOptions,
  type Outcome,
  binary,
  jsonLines,
  templora,
  withoutTimes,
  sensible,
} from "./support/cli.ts";
import { openIn } from "./support/open_files.ts";

const test = suite("state");
const folder = mkdtempSync(join(tmpdir(), "templora-state-"));
const at = (name: string): string => join(folder, name);
process.env["TEMPLORA_CACHE"] = at("cache");
test.after(() => rmSync(folder, { recursive: true }));

const tiny = "test/golden/tiny-tied";
const book = "test/golden/moby-dick-excerpt.txt";
const ppl = (model: string, state: string, ...flags: string[]): string[] =>
  sensible([
    ...["ppl", book, "--model", model, "--device", "cpu", "--threads", "1", "--state", state, "--json", "-"],
    ...["--chunk", "64", "--window", "64", "--rank", "4", "--dropout", "0", "--max-tokens", "200", ...flags],
  ]);

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

const about = { run: { seed: "0" }, parts: {} };
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
  assert.not.ok(existsSync(at("cache/weights")), "the model was not read for it");
});

test("a text that begins as another does is another", async () => {
  const text = readFileSync(book, "utf8").slice(0, 400);
  const [one, other] = [at("one.txt"), at("other.txt")];
  writeFileSync(one, text);
  writeFileSync(other, `${text.slice(0, 100)}other${text.slice(105)}`);
  const argv = (path: string, ...flags: string[]): string[] => ppl(tiny, at("texts.state"), ...flags).with(1, path); // prettier-ignore
  assert.is((await interrupted(argv(one))).code, 130);
  const { code, stderr } = await templora(argv(other, "--resume"));
  assert.match(stderr, /texts\.state: the state of another run/);
  assert.is(code, 2);
  assert.is((await templora(argv(one, "--resume"))).code, 0);
});

test("a place that cannot be written is refused before any work, and without advice to remove it", async () => {
  for (const place of [`${book}/x.state`, folder, "/dev/null", "/proc/x.state"]) {
    if (place.startsWith("/") && place !== folder && process.platform !== "linux") continue;
    const { code, stdout, stderr } = await templora(ppl(tiny, place));
    assert.is(code, 2, stderr);
    assert.is(stdout, "");
    assert.match(stderr, /^templora: [^\n]*\n$/);
    assert.ok(stderr.includes(place), stderr);
    assert.not.match(stderr, /remove/);
  }
});

test("a complete run removes its own state; one that names another's is refused", async () => {
  const [own, others] = [at("own.state"), at("others.state")];
  assert.is((await interrupted(ppl(tiny, own))).code, 130);
  assert.is((await templora(ppl(tiny, own))).code, 0);
  assert.not.ok(existsSync(own), "that of the same command is of no more use");
  assert.is((await interrupted(ppl(tiny, others, "--seed", "7"))).code, 130);
  const before = readFileSync(others);
  for (const flags of [[], ["--resume"]]) {
    const { code, stdout, stderr } = await templora(ppl(tiny, others, ...flags));
    assert.is(code, 2, stderr);
    assert.is(stdout, "");
    assert.match(stderr, /others\.state: the state of another run/);
  }
  assert.equal(readFileSync(others), before);
});

test("a run takes its state's place at the beginning, and leaves it where it fails before the first step", async () => {
  const state = at("claimed.state");
  const second = await templora(ppl(tiny, state), {
    onOutput: (text) => {
      if (text.includes('"config"')) assert.ok(existsSync(state));
    },
  });
  assert.is(second.code, 0, second.stderr);
  process.env["TEMPLORA_CPU_BUILD"] = "wider";
  try {
    assert.is((await templora(ppl(tiny, state))).code, 2);
  } finally {
    delete process.env["TEMPLORA_CPU_BUILD"];
  }
  assert.not.ok(existsSync(state));
});

test("of two states of one run the further one stays, whichever process wrote it", async () => {
  const state = at("two.state");
  const whole = await templora(ppl(tiny, at("whole.state")));
  assert.is((await interrupted(ppl(tiny, state))).code, 130);
  const further = readFileSync(state);
  // Begun anew, and stopped before it has come as far.
  const anew = await templora(ppl(tiny, state), {
    onOutput: (text, stop) => (text.includes('"config"') ? stop() : undefined),
  });
  assert.is(anew.code, 130);
  assert.equal(readFileSync(state), further);
  // Damaged meanwhile, it is worth nothing.
  const damage = (): void => writeFileSync(state, Buffer.concat([further.subarray(0, -1), Buffer.of(0)]));
  const saved = await templora(ppl(tiny, state), {
    onOutput: (text, stop) => {
      if (!text.includes('"config"')) return;
      damage();
      stop();
    },
  });
  assert.is(saved.code, 130, saved.stderr);
  const resumed = await templora(ppl(tiny, state, "--resume"));
  const chunks = ({ stdout }: Outcome): unknown[] =>
    jsonLines(stdout)
      .filter(({ type }) => type === "chunk")
      .map(withoutTimes);
  assert.equal(chunks(resumed), chunks(whole));
});

test("where the newest state is torn or gone, the run goes on from the one before it, and says so", async () => {
  const state = at("torn.state");
  const before = `${state}.before`;
  process.env["TEMPLORA_SAVE_EVERY_MS"] = "0";
  try {
    const whole = await templora(ppl(tiny, at("untorn.state")));
    const chunks = ({ stdout }: Outcome): unknown[] => jsonLines(stdout).map(withoutTimes);
    for (const damage of [
      (): void => rmSync(state),
      (): void => writeFileSync(state, ""),
      (): void => writeFileSync(state, readFileSync(state).subarray(0, 900)),
      (): void =>
        writeFileSync(
          state,
          readFileSync(state).map((byte, i) => (i === 400 ? byte ^ 1 : byte)),
        ),
    ]) {
      assert.is((await interrupted(ppl(tiny, state))).code, 130);
      assert.ok(existsSync(before));
      damage();
      const resumed = await templora(ppl(tiny, state, "--resume"));
      assert.is(resumed.code, 0, resumed.stderr);
      assert.equal(chunks(resumed), chunks(whole));
      assert.is(
        resumed.stderr.match(/torn\.state.*; going on from the state before it, .*torn\.state\.before\n/g)
          ?.length,
        1,
      );
      assert.not.ok(existsSync(state) || existsSync(before), "neither is of more use");
    }
    assert.is((await interrupted(ppl(tiny, state))).code, 130);
    writeFileSync(before, readFileSync(before).subarray(0, -1));
    writeFileSync(state, readFileSync(state).subarray(0, -1));
    const lost = await templora(ppl(tiny, state, "--resume"));
    assert.is(lost.code, 2);
    assert.match(lost.stderr, /torn\.state: the state is damaged/);
    rmSync(state);
    writeFileSync(before, "mine");
    assert.is((await templora(ppl(tiny, state))).code, 0);
    assert.is(readFileSync(before, "utf8"), "mine", "a file that is no state is left alone");
  } finally {
    delete process.env["TEMPLORA_SAVE_EVERY_MS"];
  }
});

test("a state that is torn beside a further one before it, begun anew and stopped, is gone on with from the further one", async () => {
  const [state, whole] = [at("further.state"), await templora(ppl(tiny, at("unfurther.state")))];
  process.env["TEMPLORA_SAVE_EVERY_MS"] = "-1";
  try {
    assert.is((await interrupted(ppl(tiny, state))).code, 130);
    const before = readFileSync(`${state}.before`);
    writeFileSync(state, readFileSync(state).subarray(0, -1));
    const anew = await templora(ppl(tiny, state), {
      onOutput: (text, stop) => (text.includes('"config"') ? stop() : undefined),
    });
    assert.is(anew.code, 130);
    assert.match(anew.stderr, /goes on from where an earlier run of it has stopped, which is further/);
    assert.equal(readFileSync(`${state}.before`), before);
    const resumed = await templora(ppl(tiny, state, "--resume"));
    assert.match(resumed.stderr, /going on from the state before it/);
    assert.equal(jsonLines(resumed.stdout).map(withoutTimes), jsonLines(whole.stdout).map(withoutTimes));
  } finally {
    delete process.env["TEMPLORA_SAVE_EVERY_MS"];
  }
});

test("what is resumed before anything was kept, and what has no room for a second state, says so in one line", async () => {
  const state = at("killed.state");
  const killed = await binary(ppl(tiny, state).with(-1, "20000"), {
    interruptOn: /"config"/,
    signal: "SIGKILL",
  });
  assert.is(killed.code, null);
  writeFileSync(`${state}.before`, "mine");
  const resumed = await templora(ppl(tiny, state, "--resume").with(-2, "20000"));
  assert.is(resumed.code, 0, resumed.stderr);
  assert.match(
    resumed.stderr,
    /^templora: --resume: the run was ended before it had kept anything \(.*\): it begins anew$/m,
  );
  assert.match(
    resumed.stderr,
    /^templora: .*\.before is no state of this run and left alone, so no second state/m,
  );
  assert.is(readFileSync(`${state}.before`, "utf8"), "mine");
});

test("the part in which a killed run wrote is removed when the run is done, and no other file", async () => {
  const [out, mine] = [at("killed.jsonl"), at("killed.jsonl.7.part")];
  const argv = ppl(tiny, at("parts.state")).map((word) => (word === "-" ? out : word));
  for (const anew of [[], ["--resume"]]) {
    const long = [...argv, "--max-tokens", "20000"];
    const { code } = await binary(long, { interruptOn: /^ +1 +64/m, signal: "SIGKILL" });
    assert.is(code, null);
    assert.ok(existsSync(`${out}.part`));
    writeFileSync(mine, "mine");
    const done = await templora([...long, ...anew]);
    assert.is(done.code, 0, done.stderr);
    assert.equal(
      [existsSync(out), existsSync(`${out}.part`), readFileSync(mine, "utf8")],
      [true, false, "mine"],
    );
  }
  rmSync(mine);
});

test("--resume in the cache folder names the options in which the nearest run differs", async () => {
  const argv = (...flags: string[]): string[] => {
    const all = ppl(tiny, "", ...flags);
    return all.toSpliced(all.indexOf("--state"), 2);
  };
  assert.is((await interrupted(argv())).code, 130);
  assert.is((await interrupted(argv("--seed", "3", "--knn", "0.1"))).code, 130);
  const { code, stderr } = await templora(argv("--resume", "--lr", "1e-3", "--max-tokens", "200"));
  assert.is(code, 2);
  assert.match(
    stderr,
    /there is one of a run on the same model and text in which --lr is 0\.0004 there and 0\.001 here \(/,
  );
  const other = await templora(argv("--resume", "--max-tokens", "120"));
  assert.match(
    other.stderr,
    /is missing\); it is kept when the same command is interrupted\n$/,
    "another text",
  );
});

test("the state before is a whole one of the same run, and as private; another run takes neither's place", async () => {
  const state = at("two_generations.state");
  const before = `${state}.before`;
  assert.is((await interrupted(ppl(tiny, state))).code, 130);
  assert.not.ok(existsSync(before), "an empty state is not worth keeping");
  process.env["TEMPLORA_SAVE_EVERY_MS"] = "0";
  try {
    chmodSync(state, 0o600);
    assert.is((await interrupted(ppl(tiny, state, "--resume"))).code, 130);
    assert.is(statSync(before).mode & 0o777, 0o600);
    for (const damage of [(): void => rmSync(state), (): void => writeFileSync(state, "")]) {
      rmSync(state, { force: true });
      rmSync(before, { force: true });
      assert.is((await interrupted(ppl(tiny, state))).code, 130);
      const kept = readFileSync(before);
      damage();
      const other = await templora(ppl(tiny, state, "--seed", "9"));
      assert.match(other.stderr, /the state of another run/);
      assert.is(other.code, 2);
      assert.equal(readFileSync(before), kept);
    }
    // torn while the run goes on, the newest does not become the one before
    rmSync(state);
    rmSync(before);
    const stopped = await templora(ppl(tiny, state), {
      onOutput: (text, stop) => {
        if (!text.includes('"chunk"') || !existsSync(before)) return;
        process.env["TEMPLORA_SAVE_EVERY_MS"] = "1000000";
        writeFileSync(state, readFileSync(state).subarray(0, -1));
        stop();
      },
    });
    assert.is(stopped.code, 130, stopped.stderr);
    rmSync(state);
    const resumed = await templora(ppl(tiny, state, "--resume"));
    assert.is(resumed.code, 0, resumed.stderr);
  } finally {
    delete process.env["TEMPLORA_SAVE_EVERY_MS"];
  }
});

test("a run whose guard undoes updates goes on where it was stopped, and gives the same lines", async () => {
  const guarded = [
    "--scaling",
    "lora",
    "--alpha",
    "4",
    "--lr",
    "0.5",
    "--warmup",
    "0",
    "--guard",
    "0.5",
    "--chunk",
    "24",
  ];
  for (const [name, flags] of [
    ["guard", []],
    ["guard_kept", ["--recipe", "tuned", "--epochs", "2", "--reuse-cache", "3"]],
  ] as const) {
    const argv = (state: string): string[] => ppl(tiny, at(state), ...guarded, ...flags);
    const whole = jsonLines((await templora(argv(`${name}.whole`))).stdout).map(withoutTimes);
    const undone = whole.flatMap((line) => (line["undone"] === 1 ? [Number(line["index"])] : []));
    assert.ok(undone.length > 1, String(undone));
    for (const stopAt of [undone[0] ?? 0, (undone[0] ?? 0) + 1]) {
      // stopped before the chunk that undoes an update, and right after it
      let chunks = 0;
      const stopped = await templora(argv(`${name}.state`), {
        onOutput: (text, stop) => (text.includes('"chunk"') && ++chunks === stopAt ? stop() : undefined),
      });
      assert.is(stopped.code, 130, stopped.stderr);
      const resumed = await templora([...argv(`${name}.state`), "--resume"]);
      assert.is(resumed.code, 0, resumed.stderr);
      assert.equal(jsonLines(resumed.stdout).map(withoutTimes), whole);
    }
  }
});

test("dynamic evaluation goes on where it was stopped, and gives the same lines", async () => {
  for (const adapt of ["full", "norms"]) {
    const argv = (state: string): string[] => ppl(tiny, at(state), "--adapt", adapt, "--lr", "2e-3");
    const whole = jsonLines((await templora(argv(`${adapt}.whole`))).stdout).map(withoutTimes);
    const stopped = await templora(argv(`${adapt}.state`), {
      onOutput: (text, stop) => (text.includes('"index":1') ? stop() : undefined),
    });
    assert.is(stopped.code, 130, stopped.stderr);
    const resumed = await templora([...argv(`${adapt}.state`), "--resume"]);
    assert.equal(jsonLines(resumed.stdout).map(withoutTimes), whole);
  }
});

test("texts that were read under another memory, or another share of it, are another run's", async () => {
  const state = at("memory.state");
  assert.is((await interrupted(ppl(tiny, state, "--knn", "0.1"))).code, 130);
  for (const flags of [[], ["--knn", "0.2"], ["--knn", "0.1", "--knn-tokens", "9"]]) {
    const { code, stderr } = await templora(ppl(tiny, state, "--resume", ...flags));
    assert.match(stderr, /memory\.state: the state of another run/);
    assert.is(code, 2);
  }
  assert.is((await interrupted(ppl(tiny, at("none.state")))).code, 130);
  const same = await templora(ppl(tiny, at("none.state"), "--resume", "--knn", "0"));
  assert.is(same.code, 0, "none by name");
});

test("where a later text fails, those before it are kept", async () => {
  const argv = (...flags: string[]): string[] =>
    ppl(tiny, at("failed.state"), ...flags).toSpliced(1, 0, book);
  const whole = await templora(argv());
  let summaries = 0;
  const failed = await templora(argv(), {
    onOutput(text) {
      if (text.includes('"summary"')) summaries++;
      else if (summaries === 1) throw new Error("the device is lost");
    },
  });
  assert.is(failed.code, 1);
  assert.match(failed.stderr, /the device is lost\n$/);
  const resumed = await templora(argv("--resume"));
  assert.is(resumed.code, 0, resumed.stderr);
  assert.equal(jsonLines(resumed.stdout).map(withoutTimes), jsonLines(whole.stdout).map(withoutTimes));
});

test("a state that another run has put there meanwhile is left alone", async () => {
  const state = at("raced.state");
  assert.is((await interrupted(ppl(tiny, at("racer.state"), "--seed", "7"))).code, 130);
  const racer = readFileSync(at("racer.state"));
  const { code, stderr } = await templora(ppl(tiny, state), {
    onOutput: (text, stop) => {
      if (!text.includes('"config"')) return;
      writeFileSync(state, racer);
      stop();
    },
  });
  assert.is(code, 1);
  assert.match(stderr, /stopped, but the state is lost: .*raced\.state: the state of another run/);
  assert.equal(readFileSync(state), racer);
});

test("a state comes back as it was, NaN and infinities included", async () => {
  const facts = { texts: [{ records: [{ base_nll: NaN, lr: Infinity, none: null }], snapshot: some }] };
  await saveRun(at("run.state"), { identity: "ab12", about, facts });
  assert.is(await ownerOf(at("run.state")), "ab12");
  assert.is(await ownerOf(at("missing.state")), null);
  assert.equal(await loadRun(at("run.state"), "ab12"), { identity: "ab12", about, facts });
  assert.equal(openIn(folder), []);
  assert.match(await rejection(loadRun(at("run.state"), "cd34")), /state of another run/);
});

test("a state is whole when writes stop short, and the old one stays when they fail", async () => {
  const { write, fsync } = fs;
  type Done = (error: Error | null) => void;
  // What a write may do: a part of the bytes.
  const short = (file: number, data: Uint8Array, from: number, length: number, ...rest: [null, Done]): void =>
    write(file, data, from, Math.min(100, length), ...rest);
  const patch = (changed: object): void => {
    Object.assign(fs, changed);
    syncBuiltinESMExports();
  };
  try {
    patch({ write: short });
    await saveRun(at("short.state"), { identity: "ab12", about, facts: some });
    assert.equal((await loadRun(at("short.state"), "ab12"))?.facts, some);
    patch({ fsync: (_: number, done: Done) => done(new Error("the disk is gone")) });
    const failing = saveRun(at("short.state"), { identity: "ab12", about, facts: {} });
    assert.match(await rejection(failing), /the disk is gone/);
  } finally {
    patch({ write, fsync });
  }
  assert.equal((await loadRun(at("short.state"), "ab12"))?.facts, some);
  assert.equal(
    readdirSync(folder).filter((name) => name.endsWith(".part")),
    [],
  );
});

test("a state with any other byte or length is refused", async () => {
  const facts = { a: Float32Array.of(1, 2, 3), b: Int32Array.of(4, 5) };
  await saveRun(at("whole.bytes"), { identity: "ab12", about, facts });
  const bytes = readFileSync(at("whole.bytes"));
  const others = [bytes.subarray(0, -1), bytes.subarray(0, -12), Buffer.concat([bytes, Buffer.alloc(4)])];
  const header = `{"magic":"${MAGIC}","identity":"ab12"`.length;
  for (let i = header; i < bytes.length; i++) {
    const flipped = Buffer.from(bytes);
    flipped[i] = (flipped[i] ?? 0) ^ 1;
    others.push(flipped);
  }
  for (const [i, other] of others.entries()) {
    writeFileSync(at("other.bytes"), other);
    assert.match(await rejection(loadRun(at("other.bytes"), "ab12")), /other\.bytes: .*damaged/, `${i}`);
  }
});

test("a state with a right checksum and wrong facts is refused", async () => {
  const path = at("forged.state");
  const write = (facts: string, behind = Buffer.of()): void => {
    const first = JSON.stringify({ magic: MAGIC, identity: "ab12", about });
    const content = Buffer.concat([Buffer.from(`${first}\n{"facts":${facts}}\n`), behind]);
    writeFileSync(path, Buffer.concat([content, createHash("sha256").update(content).digest()]));
  };
  const damaged = /forged\.state: the state is damaged \(/;
  for (const facts of ["", "{", '"\n"', `${"[".repeat(1e5)}`]) {
    write(facts);
    assert.match(await rejection(loadRun(path, "ab12")), damaged);
  }
  for (const length of ["3", "-1", "0.5", "1e300", '"2"', "null"]) {
    write(`{"array":"f32","length":${length}}`, Buffer.alloc(8));
    assert.match(
      await rejection(loadRun(path, "ab12")),
      /length of an array: expected a whole number from 0 to 2,/,
    );
  }
  write("{}", Buffer.alloc(4));
  assert.match(await rejection(loadRun(path, "ab12")), damaged);
  // prettier-ignore
  const wrong: readonly [facts: unknown, message: RegExp][] = [
    [null, /facts: expected a JSON object/],
    [{ numerics: [] }, /texts: expected a list, got nothing/],
    [{ texts: [null], numerics: [] }, /texts\[0\]: expected a JSON object/],
    [{ texts: [{ snapshot: null }], numerics: [] }, /records: expected a list/],
    [{ texts: [{ records: [1], snapshot: null }], numerics: [] }, /a record: expected/],
    [{ texts: [{ records: [] }], numerics: [] }, /snapshot: expected a JSON object, got nothing/],
    [{ texts: [{ records: [], snapshot: null, written: 1 }], numerics: [] }, /written: expected a string/],
    [{ texts: [], numerics: [3] }, /numerics: expected a JSON object/],
  ];
  for (const [facts, message] of wrong) {
    write(JSON.stringify(facts));
    const opening = RunState.open({ state: path, resume: true }, () =>
      Promise.resolve({ hash: "ab12", facts: {} }),
    );
    assert.match(await rejection(opening), message);
  }
});

test("a state that cannot be read is not taken for none", async () => {
  writeFileSync(at("file"), "");
  assert.is(await loadRun(at("nowhere/at.all"), "ab12"), null);
  assert.is(await ownerOf(at("nowhere/at.all")), null);
  assert.match(await rejection(loadRun(at("file/below"), "ab12")), /: cannot read the state: ENOTDIR/);
  assert.match(await rejection(ownerOf(at("file/below"))), /: cannot read the state: ENOTDIR/);
  const said = `BadInputError: ${folder}: not a state file of templora, so it is left as it is; name another file`;
  assert.is(await rejection(loadRun(folder, "ab12")), said);
  assert.is(await rejection(ownerOf(folder)), said);
});

test("arrays that are windows of a buffer are written as they are", async () => {
  const all = Float32Array.of(1, 2, 3, 4, 5);
  await saveRun(at("window.state"), { identity: "ab12", about, facts: { part: all.subarray(2, 4) } });
  const loaded = await loadRun<{ part: Float32Array }>(at("window.state"), "ab12");
  assert.equal(loaded?.facts.part, Float32Array.of(3, 4));
});

test("another configuration or tokenizer is another identity; another place is not", async () => {
  const of = async (name: string, file = "", change = (text: string): string => text): Promise<string> => {
    cpSync(tiny, at(name), { recursive: true });
    const path = at(`${name}/${file}`);
    if (file !== "") writeFileSync(path, change(readFileSync(path, "utf8")));
    await using modelFiles = await openModelFiles(at(name));
    return (await identityOf("ppl", modelFiles, {}, () => undefined)).hash;
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

test("a text is known by its contents, not by its name", async () => {
  const state = at("text.state");
  assert.is((await interrupted(ppl(tiny, state))).code, 130);
  cpSync(book, at("moved.txt"));
  const resumed = await templora(
    ppl(tiny, state, "--resume").map((arg) => (arg === book ? at("moved.txt") : arg)),
  );
  assert.is(resumed.code, 0, resumed.stderr);
});

test("the weights are read for the identity once, and again when the file has changed", async () => {
  cpSync(tiny, at("counted"), { recursive: true });
  const weights = at("counted/model.safetensors");
  utimesSync(weights, 1, 1);
  const modelFiles = await openModelFiles(at("counted"));
  let reads = 0;
  const counted = {
    ...modelFiles,
    parts(name: string) {
      reads++;
      return modelFiles.parts(name);
    },
  };
  const identity = async (): Promise<string> => (await identityOf("ppl", counted, {}, () => undefined)).hash;
  const first = await identity();
  assert.is(reads, modelFiles.tensors.size);
  assert.is(await identity(), first);
  assert.is(reads, modelFiles.tensors.size);
  // Written again with the old time of change, as a copy that keeps times is.
  writeFileSync(weights, readFileSync(weights));
  utimesSync(weights, 1, 1);
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
