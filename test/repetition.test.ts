/**
 * A text that repeats itself: the two figures of each chunk; what is said; what is not
 * learnt; where the text ends; and the same bits after a resume, wherever the run was stopped.
 */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { BadInputError } from "../engine/errors.ts";
import { at } from "../kernels/base/at.ts";
import { entropyOf } from "../model/entropy.ts";
import type { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { writeTokens } from "../templora/decode.ts";
import type { Kept } from "../templora/keeping.ts";
import { besideWriter } from "../templora/learner_beside.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { Session } from "../templora/session.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora, withoutTimes } from "./support/cli.ts";
import { naive } from "./support/distinct.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const folder = temporaryFolder();
process.env["TEMPLORA_CACHE"] = folder;
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0, lr: 5e-2, warmup: 0 };
const options: GivenOptions = { chunk: 32, window: 32, recipe, seed: 3, baseline: false };
const prompt = Int32Array.of(40, 77, 12, 90, 200, 31);
/** By then greedy decoding and this learning rate have made a loop: first the entropy falls, or with four epochs the 4-grams are the same. */
const TOKENS = 320;
const fourEpochs = { ...recipe, epochs: 4 };
/** Beside the writer the adapter of one chunk earlier writes, and the loop comes later: it learns more by then. */
const looping = { cascaded: fourEpochs, parallel: { ...recipe, lr: 0.1, epochs: 6 } };

for (const { name, device } of await openTestDevices()) {
  const model = await loadModel(device, tiny);
  const task = new Task(device);
  test.after(async () => {
    task.dispose();
    model.dispose();
    await device.close();
  });

  test(`${name}: the entropy of logits, which stay as they are`, async () => {
    const random = new TestRandom(SEED, "entropy");
    using _scope = task.scope();
    for (const V of [1, 2, 63, 288, 5000])
      for (const scale of [0, 0.1, 1, 10, 100]) {
        const values = Float32Array.from({ length: V }, () => scale * random.normal());
        const top = Math.max(...values);
        const total = values.reduce((sum, z) => sum + Math.exp(z - top), 0);
        const want = values.reduce((sum, z) => {
          const p = Math.exp(z - top) / total;
          return p > 0 ? sum - p * Math.log(p) : sum;
        }, 0);
        const logits = task.tensor(values, [1, V]);
        const got = await entropyOf(task, logits).item();
        assert.ok(Math.abs(got - want) < 1e-5 * (1 + scale), `V ${V}, scale ${scale}: ${got}, ${want}`);
        assert.equal(await logits.data(), values);
      }
  });

  test(`${name}: the records' figures are those of the text and of the model that wrote it`, async () => {
    const { ids, records } = await write(model, { recipe: fourEpochs });
    for (const { start, distinct_4 = null, repeats } of records) {
      const written = ids.slice(prompt.length, start + 32);
      const want = written.length < 128 ? null : naive(written.slice(-256));
      assert.is(distinct_4, want);
      if (want !== null && want < 0.5) assert.is(repeats, 1);
    }
    assert.is(
      records.find(({ repeats }) => repeats === 1)?.start,
      96 + 32,
      "by its 4-grams, as soon as they count",
    );
    using _scope = task.scope();
    const before = Int32Array.from(ids.slice(0, 32)); // of the first chunk, which the model wrote as it was
    const V = model.config.vocab_size;
    const logits = await model.logits(model.forward(model.ids(task, before))).data();
    let sum = 0;
    for (let i = prompt.length - 1; i < 31; i++)
      sum += await entropyOf(task, task.tensor(logits.slice(i * V, (i + 1) * V), [1, V])).item();
    assert.ok(Math.abs(sum / (32 - prompt.length) - (at(records, 0).entropy ?? 0)) < 1e-5);
  });

  if (device.info.kind !== "cpu") continue; // the rest is the host's work, and would take a software adapter minutes

  test(`${name}: skip learns no chunk that repeats itself, and every other; the rest goes on`, async () => {
    const { records, adapters } = await write(model, { onRepetition: "skip" });
    const first = records.findIndex(({ repeats }) => repeats === 1);
    assert.ok(first > 0 && records.slice(first + 1).some(({ repeats }) => repeats === 1));
    const report = await write(model);
    assert.equal(records.slice(0, first).map(figures), report.records.slice(0, first).map(figures));
    for (const [i, { index, repeats, train_loss }] of records.entries()) {
      assert.is(index, i);
      assert.is(train_loss.length, repeats === 1 ? 0 : 2);
      if (i > 0) assert.is(at(adapters, i) === at(adapters, i - 1), repeats === 1, `chunk ${i}`);
    }
    assert.is(new Set(report.adapters).size, report.records.length);
  });

  const places = device.info.kind === "cpu" ? [undefined, besideWriter] : [undefined];
  for (const schedule of ["cascaded", "parallel"] as const)
    test(`${name}: ${schedule}: resumed at any place, the same text and records`, async () => {
      for (const place of schedule === "parallel" ? places : [undefined]) {
        const given = { onRepetition: "skip", recipe: looping[schedule], schedule, place } as const;
        const whole = await write(model, given);
        assert.ok(whole.records.some(({ repeats }) => repeats === 1));
        for (const stop of place ? [230] : [100, 165, 166, 231, 263, 300]) {
          const { kept } = await write(model, { ...given, stop });
          const { ids, records } = await write(model, { ...given, earlier: kept });
          assert.equal(ids, whole.ids, `stopped after ${stop}`);
          const all = [...(kept?.records ?? []), ...records];
          assert.equal(all.map(figures), whole.records.map(figures), `stopped after ${stop}`);
        }
      }
    });

  test(`${name}: stop ends the text with its state kept; from there on another answer goes on as if nothing had been`, async () => {
    for (const schedule of ["cascaded", "parallel"] as const) {
      const given = { schedule, recipe: looping[schedule] };
      const report = await write(model, given);
      const { kept, ids, records } = await write(model, { ...given, onRepetition: "stop" });
      const first = report.records.findIndex(({ repeats }) => repeats === 1);
      assert.is(records.length, first + 1);
      assert.ok(ids.length < report.ids.length);
      assert.equal(ids, report.ids.slice(0, ids.length));
      const rest = await write(model, { ...given, earlier: kept });
      assert.equal(rest.ids, report.ids);
      assert.equal([...records, ...rest.records].map(figures), report.records.map(figures));
      const next = await write(model, { ...given, onRepetition: "stop", earlier: kept });
      assert.is(next.records.length, 1, "asked again, it ends with the next such chunk");
      using session = new Session(model, { ...options, ...given, onRepetition: "skip" });
      let error: unknown;
      await session.restore(at([kept?.snapshot].filter(Boolean), 0) as Kept["snapshot"]).catch((e: unknown) => (error = e)); // prettier-ignore
      assert.instance(error, BadInputError);
    }
  });
}

const figures = ({ seconds: _, ...record }: ChunkRecord): object => record;

interface Writing extends Pick<GivenOptions, "onRepetition" | "recipe" | "schedule"> {
  readonly place?: typeof besideWriter | undefined;
  readonly earlier?: Kept | null;
  readonly stop?: number;
}

/** All ids, the records of this run, the adapter after each of them, and what was kept where it ended. */
async function write(
  model: Llama,
  { place, earlier = null, stop = Infinity, ...given }: Writing = {},
): Promise<{ ids: number[]; records: ChunkRecord[]; adapters: string[]; kept: Kept | null }> {
  using session = new Session(model, { ...options, ...given }, place);
  const controller = new AbortController();
  let kept: Kept | null = null;
  const keeper = {
    earlier,
    point: () => Promise.resolve(),
    stop: async (take: () => Promise<Kept>) => void (kept = await take()),
  };
  const records: ChunkRecord[] = [];
  const adapters: string[] = [];
  let steps = 0;
  for await (const step of writeTokens(session, prompt, {
    tokens: TOKENS,
    signal: controller.signal,
    keeper,
  })) {
    if (step.type === "chunk") {
      records.push(step.record);
      if (!place) adapters.push((await session.snapshot()).learner?.values.join() ?? "");
    }
    if (++steps === stop) controller.abort();
  }
  return { ids: [...session.ids], records, adapters, kept };
}

const argv = (answer: string, name: string, ...more: string[]): string[] => [
  ...["generate", "--model", tiny, "--device", "cpu", "--threads", "1", "--prompt", "Call me", "--on-repetition", answer],
  ...["--rank", "4", "--lr", "0.05", "--warmup", "0", "--dropout", "0", "--chunk", "32", "--window", "32", "--repetition-penalty", "1"],
  ...["--tokens", String(TOKENS), "--json", join(folder, `${name}.jsonl`), "--state", join(folder, `${name}.state`)],
  ...more,
]; // prettier-ignore

test("the command line: one line when it begins, keys in the records, an end with a state to go on from", async () => {
  const lines = (name: string): object[] =>
    jsonLines(readFileSync(join(folder, `${name}.jsonl`), "utf8"))
      .slice(1)
      .map(withoutTimes);
  const said = (stderr: string): string[] => stderr.split("\n").filter((line) => line.includes("repeats"));
  const report = await templora(argv("report", "report"));
  assert.is(report.code, 0, report.stderr);
  assert.is(said(report.stderr).length, 1);
  assert.match(
    at(said(report.stderr), 0),
    /^templora: chunk \d+: the text repeats itself \(\d+ % of its 4-grams are distinct, [\d.e-]+ nats of entropy a token\): it is learnt all the same \(--on-repetition report\)$/,
  );
  const whole = lines("report");
  const repeating = whole.filter((line) => "repeats" in line && line.repeats === 1).length;
  assert.is((whole.at(-1) as { repeating_chunks: number }).repeating_chunks, repeating);

  const stopped = await templora(argv("stop", "stop"));
  assert.is(stopped.code, 0, stopped.stderr);
  assert.match(
    stopped.stderr,
    /it ends here \(--on-repetition stop\)\n[^]*the same command with --resume goes on/,
  );
  assert.ok(report.stdout.startsWith(stopped.stdout) && stopped.stdout.length < report.stdout.length);
  assert.is((lines("stop").at(-1) as { ended_by: string }).ended_by, "repetition");
  assert.ok(existsSync(join(folder, "stop.state")));
  const resumed = await templora(argv("report", "stop", "--resume"));
  assert.is(resumed.code, 0, resumed.stderr);
  assert.is(resumed.stdout, report.stdout);
  assert.equal(lines("stop"), whole);
  assert.not.ok(existsSync(join(folder, "stop.state")), "a whole text needs none");

  const skipped = await templora(argv("skip", "skip"));
  assert.match(skipped.stderr, /it is not learnt \(--on-repetition skip\)/);
  const losses = lines("skip").filter((line) => "repeats" in line && line.repeats === 1) as { train_loss: [] }[]; // prettier-ignore
  assert.ok(losses.length > 0 && losses.every(({ train_loss }) => train_loss.length === 0));
  await templora(argv("stop", "other"));
  const { code, stderr } = await templora(argv("skip", "other", "--resume"));
  assert.is(code, 2, "what was learnt is not what this would have learnt");
  assert.match(stderr, /the state of another run/);
  rmSync(folder, { recursive: true });
});

test.run();
