/**
 * Faults planted one at a time in a copy of the code: the test named beside each must fail, as it must pass without. A sample that
 * takes seconds; `npm run mutate` does the same for any number of faults (docs/reliability.md).
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Verdict, run } from "../scripts/mutate/run.ts";

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
    before: "scale: alpha / rank }",
    after: "scale: alpha }",
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
    file: "model/tokenizer.ts",
    before: "      this.#strip = false;\n",
    after: "",
    test: "tokenizer",
  },
  {
    what: "another run's state is taken",
    file: "templora/state.ts",
    before: "if (owner !== identity) throw anothers(path);",
    after: "",
    test: "state",
  },
];

const root = fileURLToPath(new URL("..", import.meta.url));
const env = { TEMPLORA_TEST_ADAPTER: "none" };
const tests = suite("faults");
let copy = "";

tests.before(() => {
  const cache = join(root, "node_modules/.cache/templora"); // where `uvu` can be imported
  mkdirSync(cache, { recursive: true });
  copy = mkdtempSync(join(cache, "faults-"));
  for (const name of [
    "package.json",
    "tsconfig.json",
    "engine",
    "kernels",
    "model",
    "templora",
    "cli",
    "bench",
    "scripts",
    "test",
  ])
    cpSync(join(root, name), join(copy, name), { recursive: true });
});

tests.after(() => rmSync(copy, { recursive: true }));

const runs = (name: string): Promise<Verdict> =>
  run(copy, `test/${name}.test.ts`, env, 60).then(({ verdict }) => verdict);

tests("without a fault the tests pass", async () => {
  for (const name of new Set(faults.map(({ test }) => test))) assert.is(await runs(name), "passed", name);
});

for (const { what, file, before, after, test } of faults)
  tests(`${test} sees it when ${what}`, async () => {
    const text = readFileSync(join(root, file), "utf8");
    const count = text.split(before).length - 1;
    assert.is(count, 1, `${file} has ${JSON.stringify(before)} ${count} times: plant this fault elsewhere`);
    writeFileSync(
      join(copy, file),
      text.replace(before, () => after),
    );
    try {
      assert.is(await runs(test), "failed");
    } finally {
      writeFileSync(join(copy, file), text);
    }
  });

tests.run();
