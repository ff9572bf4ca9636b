/** Which tests reach which mutants, from one run of every test file without a fault, and whether a test sees a mutant. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { filesOf, hash, mutated, root } from "./plant.ts";
import { type Environment, type Verdict, run } from "./run.ts";

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

/** Runs every test file without a fault, but those that `cache` has from the same texts. */
export async function cleanRuns(
  copy: string,
  cache: string,
  env: Environment,
  slow: number,
): Promise<TestFile[]> {
  const texts = filesOf(root).filter((file) => existsSync(join(copy, file)));
  const all = (files: readonly string[]): string =>
    hash(files.map((file) => hash(readFileSync(join(copy, file), "latin1"))).join());
  // What stands at these numbers: what the mutated files are.
  const sources = all(texts.filter(mutated));
  const before = existsSync(cache) ? (JSON.parse(readFileSync(cache, "utf8")) as Cached) : null;
  const known = before?.sources === sources ? before.tests : [];
  const tests: Cached["tests"][number][] = [];
  for (const file of texts.filter((name) => /^test\/[^/]+\.test\.ts$/.test(name))) {
    const text = all([file]);
    let test = known.find((other) => other.file === file && other.hash === text);
    if (!test || (test.totals === null && test.seconds < slow)) {
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
    writeFileSync(cache, JSON.stringify({ sources, tests } satisfies Cached));
  }
  return tests
    .filter(({ totals, seconds }) => totals !== null && seconds <= slow)
    .map((test) => ({ ...test, reached: new Set(test.reached) }))
    .sort((a, b) => a.seconds - b.seconds);
}

interface Cached {
  readonly sources: string;
  readonly tests: readonly (Omit<TestFile, "reached"> & { readonly reached: readonly number[] })[];
}

/** Whether a test file sees the mutant. */
export async function tryTest(
  copy: string,
  test: TestFile,
  mutant: number,
  env: Environment,
): Promise<Verdict> {
  // Far above what a busy machine needs.
  const active = { ...env, __STRYKER_ACTIVE_MUTANT__: String(mutant) };
  const { verdict, totals } = await run(copy, test.file, active, 20 + 10 * test.seconds);
  return verdict === "passed" && totals !== test.totals ? "failed" : verdict;
}
