/** The test runner counts a file that crashes, hangs, runs nothing or ends early as a failure. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("..", import.meta.url));
const cache = join(root, "node_modules/.cache/templora");
const tests = suite("runner");

/** Runs the runner on test files of the given names and texts; the folder lies where `uvu` can be imported. */
function run(
  files: Record<string, string>,
  { seconds = 1200, patterns = [] }: { seconds?: number; patterns?: string[] } = {},
): { status: number | null; lines: string[] } {
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "runner-"));
  try {
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    for (const [name, text] of Object.entries(files)) {
      const head = `import { suite } from "uvu"; import { unless } from ${JSON.stringify(join(root, "test/support/skip.ts"))};
        const test = suite(); const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));`;
      writeFileSync(join(folder, `${name}.test.ts`), `${head}\n${text}\n`);
    }
    const args = ["--import", "tsx", "test/run.ts", "--dir", relative(root, folder), ...patterns];
    const env = { ...process.env, TEMPLORA_TEST_ADAPTER: "none", TEMPLORA_TEST_SECONDS: String(seconds) };
    const { status, stdout } = spawnSync(process.execPath, args, { cwd: root, env, encoding: "utf8" });
    return { status, lines: stdout.trimEnd().split("\n") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

tests("passed and skipped tests, with the reasons of the latter", () => {
  const { status, lines } = run({
    a: `test("one", () => {}); test("two", () => {}); test.run();`,
    b: `const maybe = unless("it rains", test); maybe("picnic", () => {}); test.skip("other"); test.run();`,
  });
  assert.is(lines.at(-1), "2 passed, 0 failed, 2 skipped");
  assert.ok(
    lines.some((line) => line.startsWith("skipped:") && line.endsWith("b.test.ts: picnic (it rains)")),
  );
  assert.ok(lines.some((line) => line.endsWith("(no reason given)")));
  assert.is(status, 0);
});

tests("everything that is no success is a failure", () => {
  const bad = {
    assertion: `test("fine", () => {}); test("wrong", () => { throw new Error("two and two"); }); test.run();`,
    crash: `throw new Error("while loading");`,
    early: `test("leaves", () => process.exit(0)); test.run();`,
    empty: `test("forgotten", () => {});`,
    hook: `test.before(() => { throw new Error("no set-up"); }); test("never", () => {}); test.run();`,
    signal: `test("fine", () => {}); test.run(); process.on("exit", () => process.kill(process.pid, "SIGKILL"));`,
  };
  const { status, lines } = run(bad);
  for (const name of Object.keys(bad))
    assert.ok(lines.some((line) => line.startsWith("FAIL") && line.includes(name)));
  assert.ok(
    lines.some((line) => line.includes("two and two")),
    "the output of a failing file is shown",
  );
  assert.is(lines.at(-1), "2 passed, 6 failed, 0 skipped");
  assert.is(status, 1);
});

tests("a file that hangs is stopped, and is a failure", () => {
  const { status, lines } = run({ hang: `test("waits", () => wait(1e7)); test.run();` }, { seconds: 3 });
  assert.is(lines.at(-1), "0 passed, 1 failed, 0 skipped");
  assert.ok(lines.some((line) => line.endsWith("no end after 3 s")));
  assert.is(status, 1);
});

tests("a suite that starts before another one is defined is counted whole", () => {
  const { lines } = run({
    late: `test("one", () => {}); test.run(); await wait(50); const other = suite(); other("two", () => {}); other.run();`,
  });
  assert.is(lines.at(-1), "2 passed, 0 failed, 0 skipped");
});

tests("a pattern that matches no file is a failure", () => {
  const { status, lines } = run(
    { a: `test("one", () => {}); test.run();` },
    { patterns: ["nothing-of-that-name"] },
  );
  assert.is(lines.at(-1), "0 passed, 1 failed, 0 skipped");
  assert.is(status, 1);
});

tests.run();
