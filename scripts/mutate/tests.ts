/** Test files run in the copy: once without a fault, to learn which mutants they reach, then with one mutant at a time. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { hash } from "./hash.ts";
import { filesOf, mutated, root } from "./plant.ts";

/** What a test file does without a fault. */
export interface TestFile {
  readonly file: string;
  /** Of its text. */
  readonly hash: string;
  readonly seconds: number;
  /** uvu's totals; null where it failed or was slower than `slow`, so that it cannot judge mutants. */
  readonly totals: string | null;
  /** Numbers of the mutants that it reaches. */
  readonly reached: ReadonlySet<number>;
}

export type Environment = Readonly<Record<string, string>>;

export type Verdict = "passed" | "failed" | "timeout";

interface Run {
  readonly verdict: Verdict;
  readonly totals: string | null;
  readonly seconds: number;
}

/** Runs a test file until its first failure. */
function run(copy: string, file: string, env: Environment, seconds: number): Promise<Run> {
  const start = performance.now();
  const child = spawn(process.execPath, ["--import", "tsx", "test/support/child.ts", file], {
    cwd: copy,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "ignore"],
    detached: true, // a group of its own, which ends with it
  });
  let stdout = "";
  let verdict: Verdict | null = null;
  const stop = (why: Verdict): void => {
    verdict ??= why;
    try {
      process.kill(-Number(child.pid), "SIGKILL");
    } catch {
      // it is gone
    }
  };
  const timer = setTimeout(() => stop("timeout"), seconds * 1000);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += stripVTControlCharacters(text);
    if (text.includes("✘")) stop("failed");
  });
  return new Promise((resolve) => {
    child.once("exit", (code) => {
      clearTimeout(timer);
      stop(code === 0 ? "passed" : "failed");
      const totals = /Total: +\d+\n +Passed: +\d+\n +Skipped: +\d+/.exec(stdout)?.[0] ?? null;
      const took = (performance.now() - start) / 1000;
      resolve({ verdict: verdict ?? "failed", totals, seconds: took });
    });
  });
}

/** Runs every test file without a fault, but those that `cache` has from the same texts. */
export async function cleanRuns(
  copy: string,
  cache: string,
  env: Environment,
  slow: number,
): Promise<TestFile[]> {
  const texts = filesOf(root);
  const all = (files: readonly string[]): string =>
    hash(files.map((file) => hash(readFileSync(join(root, file), "latin1"))).join());
  // What stands at these numbers: what the mutated files are.
  const sources = all(texts.filter(mutated));
  const before = existsSync(cache) ? (JSON.parse(readFileSync(cache, "utf8")) as Cached) : null;
  const known = before?.sources === sources && before.slow === slow ? before.tests : [];
  const tests: Cached["tests"][number][] = [];
  for (const file of texts.filter((name) => /^test\/[^/]+\.test\.ts$/.test(name))) {
    const text = all([file]);
    let test = known.find((other) => other.file === file && other.hash === text);
    if (!test) {
      const folder = mkdtempSync(join(tmpdir(), "templora-mutants-"));
      const preload = `--import ${join(copy, "scripts/mutate/coverage.js")}`;
      const told = { ...env, NODE_OPTIONS: preload, MUTANTS_REACHED: folder };
      const { verdict, totals, seconds } = await run(copy, file, told, slow);
      const reached = readdirSync(folder).flatMap(
        (name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as number[],
      );
      rmSync(folder, { recursive: true });
      test = {
        file,
        hash: text,
        seconds,
        totals: verdict === "passed" ? totals : null,
        reached: [...new Set(reached)],
      };
      console.log(
        `${file}: ${seconds.toFixed(1)} s, reaches ${test.reached.length} mutants` +
          (test.totals === null ? `; ${verdict} without a fault: not used` : ""),
      );
    }
    tests.push(test);
    writeFileSync(cache, JSON.stringify({ sources, slow, tests } satisfies Cached));
  }
  return tests
    .filter(({ totals }) => totals !== null)
    .map((test) => ({ ...test, reached: new Set(test.reached) }))
    .sort((a, b) => a.seconds - b.seconds);
}

interface Cached {
  readonly sources: string;
  readonly slow: number;
  readonly tests: readonly (Omit<TestFile, "reached"> & { readonly reached: readonly number[] })[];
}

/** Whether a test file sees the mutant. */
export async function tryTest(
  copy: string,
  test: TestFile,
  mutant: number,
  env: Environment,
): Promise<Verdict> {
  const active = { ...env, __STRYKER_ACTIVE_MUTANT__: String(mutant) };
  const { verdict, totals } = await run(copy, test.file, active, 5 + 4 * test.seconds);
  return verdict === "passed" && totals !== test.totals ? "failed" : verdict;
}
