/** Which tests reach which mutants, from one run of every test file without a fault, and whether a test sees a mutant. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Mutant, hash, mutatedFiles, root } from "./plant.ts";
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

/** Plants faults itself. */
const FAULTS = "test/faults.test.ts";

/** Runs every test file without a fault, but those that `cache` has from the same texts. */
export async function cleanRuns(
  copy: string,
  cache: string,
  env: Environment,
  slow: number,
): Promise<TestFile[]> {
  // What stands at these numbers: what the mutated files are.
  const sources = hash(mutatedFiles().map(hashOf).join());
  const before = existsSync(cache) ? (JSON.parse(readFileSync(cache, "utf8")) as Cached) : null;
  const known = before?.sources === sources ? before.tests : [];
  const tests: TestFile[] = [];
  const files = readdirSync(join(root, "test")).map((name) => `test/${name}`);
  for (const file of files.filter((name) => name.endsWith(".test.ts") && name !== FAULTS)) {
    const found = known.find((other) => other.file === file && other.hash === hashOf(file));
    let test: TestFile | undefined = found && { ...found, reached: new Set(found.reached) };
    if (!test || (test.totals === null && test.seconds < slow)) {
      test = await cleanRun(copy, file, env, slow);
      console.log(
        `${file}: ${test.seconds.toFixed(1)} s, reaches ${test.reached.size} mutants` +
          (test.totals === null ? "; does not pass without a fault: not used" : ""),
      );
    }
    tests.push(test);
    const lists = tests.map((each) => ({ ...each, reached: [...each.reached] }));
    writeFileSync(cache, JSON.stringify({ sources, tests: lists } satisfies Cached));
  }
  return tests.filter(({ totals, seconds }) => totals !== null && seconds <= slow);
}

/** Runs a test file without a fault. */
export async function cleanRun(
  copy: string,
  file: string,
  env: Environment,
  slow: number,
): Promise<TestFile> {
  const folder = mkdtempSync(join(tmpdir(), "templora-mutants-"));
  const preload = `--import ${join(copy, "scripts/mutate/coverage.js")}`;
  const told = { ...env, NODE_OPTIONS: preload, MUTANTS_REACHED: folder };
  const { verdict, totals, seconds } = await run(copy, file, told, slow);
  const reached = readdirSync(folder).flatMap(
    (name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as number[],
  );
  rmSync(folder, { recursive: true });
  return {
    file,
    hash: hashOf(file),
    seconds,
    totals: verdict === "passed" ? totals : null,
    reached: new Set(reached),
  };
}

const hashOf = (file: string): string => hash(readFileSync(join(root, file), "utf8"));

interface Cached {
  readonly sources: string;
  readonly tests: readonly (Omit<TestFile, "reached"> & { readonly reached: readonly number[] })[];
}

export const reaching = (tests: readonly TestFile[], { number }: Mutant): TestFile[] =>
  tests.filter(({ reached }) => reached.has(number)).sort((a, b) => a.seconds - b.seconds);

/** What the fastest test says that sees the mutant, of those that reach it; null where none does. */
export async function firstToSee(
  copy: string,
  mutant: Mutant,
  tests: readonly TestFile[],
  env: Environment,
): Promise<{ readonly by: TestFile; readonly verdict: Verdict } | null> {
  for (const test of reaching(tests, mutant)) {
    const verdict = await tryTest(copy, test, mutant.number, env);
    if (verdict !== "passed") return { by: test, verdict };
  }
  return null;
}

async function tryTest(copy: string, test: TestFile, mutant: number, env: Environment): Promise<Verdict> {
  // Far above what a busy machine needs.
  const active = { ...env, __STRYKER_ACTIVE_MUTANT__: String(mutant) };
  const { verdict, totals } = await run(copy, test.file, active, 20 + 10 * test.seconds);
  return verdict === "passed" && totals !== test.totals ? "failed" : verdict;
}
