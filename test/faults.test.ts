/**
 * Faults planted one at a time in a copy of the code: some by hand, of which the test named beside each must see it, and mutants that
 * a seed draws, one in each of some files. `npm run mutate` does the latter for any number of them (docs/reliability.md).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { equivalents, inOrder } from "../scripts/mutate/choose.ts";
import { type Mutant, WEBGPU, isUnder, place, plant, root } from "../scripts/mutate/plant.ts";
import { run } from "../scripts/mutate/run.ts";
import { type TestFile, cleanRun, firstToSee, reaching } from "../scripts/mutate/tests.ts";

interface Fault {
  readonly what: string;
  readonly file: string;
  /** Stands in the file once. */
  readonly before: string;
  readonly after: string;
  readonly test: string;
}

const faults: readonly Fault[] = [
  {
    what: "top-p keeps 5 % more mass",
    file: "model/sample.ts",
    before: "mass >= top_p * total",
    after: "mass >= 1.05 * top_p * total",
    test: "sample",
  },
  {
    what: "a cache that slides forgets to advance its position",
    file: "model/kv_cache.ts",
    before: "this.position += gone;",
    after: "",
    test: "session.steps",
  },
  {
    what: "gradients are added in place although another node reads that memory",
    file: "engine/tape.ts",
    before: "sum.storage.references === 1",
    after: "sum.storage.references >= 1",
    test: "tasks",
  },
  {
    what: "the window is one token short after an update",
    file: "templora/writer.ts",
    before: "learnt - this.#context)",
    after: "learnt - this.#context + 1)",
    test: "session.steps",
  },
  {
    what: "a chunk is scored without the last token of its context",
    file: "templora/chunks.ts",
    before: "Math.min(window, start)",
    after: "Math.max(0, Math.min(window, start) - 1)",
    test: "tiny",
  },
  {
    what: "AdamW's bias correction is that of the step before",
    file: "engine/optim/adamw.ts",
    before: "adamwParams(this.#options, lr, this.steps)",
    after: "adamwParams(this.#options, lr, Math.max(1, this.steps - 1))",
    test: "adamw.golden",
  },
  {
    what: "the attention's gradient forgets the window",
    file: "engine/ops/attention.ts",
    before: "const params = { past, window, sinks, frozen",
    after: "const params = { past, window: 0, sinks, frozen",
    test: "ops.gradcheck",
  },
  {
    what: "both words of a generator's block are the first",
    file: "engine/random.ts",
    before: "(second >>> 8)",
    after: "(first >>> 8)",
    test: "threefry",
  },
  {
    what: "a replay ignores new values of parameters",
    file: "engine/replay.ts",
    before: "this.#device.run({ ...call, params });",
    after: "run();",
    test: "decoder",
  },
  {
    what: "the adapter's scale is alpha",
    file: "templora/adapter.ts",
    before: "lora: () => alpha / rank,",
    after: "lora: () => alpha,",
    test: "tiny",
  },
  {
    what: "the angles of yarn are not cut to whole pairs",
    file: "model/rope.ts",
    before: "scaling.truncate ? [Math.floor, Math.ceil]",
    after: "!scaling.truncate ? [Math.floor, Math.ceil]",
    test: "model_files",
  },
  {
    what: "a freed block is not joined with the gap before it",
    file: "engine/backends/cpu/allocator.ts",
    before: "if (before?.end === start) {",
    after: "if (before?.end === start && start < 0) {",
    test: "cpu-device",
  },
  {
    what: "the decoder of text strips a space in the middle",
    file: "model/decode_stream.ts",
    before: "      this.#strip = false;\n",
    after: "",
    test: "tokenizer",
  },
  {
    what: "an update that is undone leaves its moments",
    file: "templora/guard.ts",
    before: "copyState(this.#task, this.#kept, now)",
    after: "copyState(this.#task, { ...this.#kept, m: null, v: null }, now)",
    test: "guard",
  },
  {
    what: "another run's state is taken",
    file: "templora/state.ts",
    before: "if (header.identity !== identity) throw anothers(path);",
    after: "",
    test: "state",
  },
];

/** Quick test files that reach most of the code; what only others see is left to `npm run mutate`. */
const quick = [
  ...new Set(faults.map(({ test }) => test)),
  ...["attention", "chat_template", "devices", "engine.parts", "families", "keys", "linear_group"],
  ...[
    "model.parts",
    "neighbours",
    "nonfinite",
    "recipe",
    "repetition.parts",
    "templora.identity",
    "templora.parts",
    "tokenizer_json",
  ],
];

/** TEMPLORA_FAULTS_SEED=n draws other mutants; one that survives is a hole in the tests, not in the code. */
const SEED = Number(process.env.TEMPLORA_FAULTS_SEED ?? 1);
const DRAWN = 16;
const SECONDS = 60;

const env = { TEMPLORA_TEST_ADAPTER: "none" };
const tests = suite("faults");
const copy = mkdtempSync(join(tmpdir(), "templora-faults-"));
const clean: TestFile[] = [];
let mutants: readonly Mutant[] = [];

tests.before(async () => void (mutants = await plant(copy)));
tests.after(() => rmSync(copy, { recursive: true }));

tests("without a fault the tests pass", async () => {
  for (const name of quick) clean.push(await cleanRun(copy, `test/${name}.test.ts`, env, SECONDS));
  for (const { file, totals } of clean) assert.ok(totals, file);
});

tests(`of ${DRAWN} mutants that seed ${SEED} draws, each in another file, none survives`, async () => {
  const equivalent = equivalents(mutants);
  const possible = mutants.filter(
    (mutant) =>
      reaching(clean, mutant).length > 0 && !equivalent.has(mutant) && !isUnder(mutant.file, WEBGPU),
  );
  const drawn = new Map<string, Mutant>();
  for (const mutant of inOrder(possible, SEED))
    if (drawn.size < DRAWN && !drawn.has(mutant.file)) drawn.set(mutant.file, mutant);
  const survivors: string[] = [];
  for (const mutant of drawn.values())
    if (!(await firstToSee(copy, mutant, clean, env))) survivors.push(place(mutant));
  assert.equal(survivors, [], "write a test that sees them, or list them in scripts/mutate/equivalent.json");
});

for (const { what, file, before, after, test } of faults)
  tests(`${test} sees it when ${what}`, async () => {
    const text = readFileSync(join(root, file), "utf8");
    const count = text.split(before).length - 1;
    assert.is(count, 1, `${file} has ${JSON.stringify(before)} ${count} times: plant this fault elsewhere`);
    const path = join(copy, file);
    const unharmed = readFileSync(path, "utf8");
    writeFileSync(
      path,
      text.replace(before, () => after),
    );
    try {
      assert.is((await run(copy, `test/${test}.test.ts`, env, SECONDS)).verdict, "failed");
    } finally {
      writeFileSync(path, unharmed);
    }
  });

tests.run();
