/**
 * `npm run mutate -- PATH…`: do the tests see it when the code is wrong? Changes one small thing at a time in the TypeScript of
 * engine/, model/ or templora/ (a mutant) and runs the tests that reach it, fastest first, until one fails.
 *
 *   --sample N --seed S   only N mutants under each path, chosen by the seed; a larger N keeps those of a smaller
 *   --slow SECONDS        test files that take longer are not used (default 20)
 *   --record              writes bench/results/mutation-….json, from which the table in docs/reliability.md is made
 *
 * What was found is kept in node_modules/.cache/templora/mutate and not done again: a killed mutant until its file changes, a
 * survivor until a test does. scripts/mutate/equivalent.json lists the mutants that change nothing that anybody can see, each
 * with the reason. Tests run on the CPU device. engine/backends/webgpu counts only where it is named: its tests run on SwiftShader.
 */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeRecord } from "../bench/record.ts";
import { equivalents, inOrder } from "./mutate/choose.ts";
import { type Mutant, WEBGPU, isUnder, place, plant, root } from "./mutate/plant.ts";
import type { Environment } from "./mutate/run.ts";
import { type TestFile, cleanRuns, firstToSee, reaching } from "./mutate/tests.ts";
import { swiftShader } from "./software-vulkan.ts";

const cache = join(root, "node_modules/.cache/templora/mutate");
const results = join(cache, "results.jsonl");

type Status = "killed" | "timeout" | "survived" | "equivalent";

interface Result {
  readonly id: string;
  /** Hash of the mutated file's text. */
  readonly source: string;
  readonly status: Exclude<Status, "equivalent">;
  /** The test file that saw it. */
  readonly by: string | null;
  /** Hashes of the test files that did not. */
  readonly unseen: readonly string[];
}

interface Found {
  readonly mutant: Mutant;
  readonly status: Status;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      sample: { type: "string" },
      seed: { type: "string", default: "1" },
      slow: { type: "string", default: "20" },
      record: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  if (positionals.length === 0)
    throw new Error("npm run mutate -- PATH…: name files or folders, such as model");
  const [seed, slow] = [Number(values.seed), Number(values.slow)];
  const sample = values.sample === undefined ? Infinity : Number(values.sample);
  mkdirSync(cache, { recursive: true });
  const copy = mkdtempSync(join(tmpdir(), "templora-mutants-"));
  process.once("exit", () => rmSync(copy, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
  const all = await plant(copy);
  const equivalent = equivalents(all);
  const parts = positionals.map((given) => {
    const path = given.replace(/\/$/, "");
    const mutants = all.filter(
      ({ file }) => isUnder(file, path) && isUnder(file, WEBGPU) === isUnder(path, WEBGPU),
    );
    if (mutants.length === 0) throw new Error(`${path}: no mutant is there`);
    return { path, mutants, chosen: inOrder(mutants, seed).slice(0, sample) };
  });
  const inTurn = parts
    .flatMap(({ chosen }) => chosen.map((mutant, turn) => ({ mutant, turn })))
    .sort((a, b) => a.turn - b.turn);
  const statuses = await judgeAll(copy, [...new Set(inTurn.map(({ mutant }) => mutant))], equivalent, slow);
  const rows = parts.flatMap(({ path, mutants, chosen }) => {
    const found = chosen.map((mutant) => ({ mutant, status: statuses.get(mutant) ?? "survived" }));
    const files = [...new Set(found.map(({ mutant }) => mutant.file))].sort();
    const inFile = (file: string): Found[] => found.filter(({ mutant }) => mutant.file === file);
    const whole = { ...count(path, found), of: mutants.length };
    return [...files.map((file) => count(file, inFile(file))), whole];
  });
  console.table(rows);
  if (!values.record) return;
  const survivors = [...statuses]
    .filter(([, status]) => status === "survived")
    .map(([mutant]) => place(mutant));
  const facts = { paths: positionals, seed, sample: values.sample ?? "all", slow, survivors };
  const suite = parts.every(({ path }) => isUnder(path, WEBGPU)) ? "mutation_webgpu" : "mutation";
  console.log(await writeRecord(suite, facts, rows));
}

async function judgeAll(
  copy: string,
  chosen: readonly Mutant[],
  equivalent: ReadonlySet<Mutant>,
  slow: number,
): Promise<Map<Mutant, Status>> {
  const known = new Map(lines<Result>(results).map((result) => [result.id, result]));
  const statuses = new Map<Mutant, Status>();
  for (const adapter of ["none", "swiftshader"] as const) {
    const here = chosen.filter((mutant) => isUnder(mutant.file, WEBGPU) === (adapter === "swiftshader"));
    if (here.length === 0) continue;
    const env = { TEMPLORA_TEST_ADAPTER: adapter, ...(adapter === "none" ? {} : swiftShader()) };
    const tests = await cleanRuns(copy, join(cache, `reached-${adapter}.json`), env, slow);
    for (const [i, mutant] of here.entries()) {
      const result = equivalent.has(mutant)
        ? null
        : await judge(copy, mutant, known.get(mutant.id), tests, env);
      const status = result?.status ?? "equivalent";
      statuses.set(mutant, status);
      console.log(`${i + 1}/${here.length} ${status.padEnd(10)} ${place(mutant)}  ${result?.by ?? ""}`);
    }
  }
  return statuses;
}

/** Runs the tests that reach the mutant and have not yet missed it. */
async function judge(
  copy: string,
  mutant: Mutant,
  before: Result | undefined,
  tests: readonly TestFile[],
  env: Environment,
): Promise<Result> {
  const { source } = mutant;
  const known = before?.source === source ? before : undefined;
  if (known && known.status !== "survived") return known;
  const unseen = known?.unseen ?? [];
  const left = tests.filter((test) => !unseen.includes(test.hash));
  const seen = await firstToSee(copy, mutant, left, env);
  const result = {
    id: mutant.id,
    source,
    status: seen === null ? "survived" : seen.verdict === "timeout" ? "timeout" : "killed",
    by: seen && seen.by.file,
    unseen: seen === null ? [...unseen, ...reaching(left, mutant).map(({ hash }) => hash)] : unseen,
  } as const;
  appendFileSync(results, `${JSON.stringify(result)}\n`);
  return result;
}

const lines = <T>(path: string): T[] =>
  existsSync(path)
    ? readFileSync(path, "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as T)
    : [];

interface Row {
  readonly name: string;
  readonly mutants: number;
  readonly killed: number;
  readonly timeouts: number;
  readonly survived: number;
  readonly equivalent: number;
  /** Of those that are not equivalent; a timeout counts as killed. */
  readonly killed_percent: number | null;
}

function count(name: string, found: readonly Found[]): Row {
  const of = (wanted: Status): number => found.filter(({ status }) => status === wanted).length;
  const [killed, timeouts, survived, equivalent] = [
    of("killed"),
    of("timeout"),
    of("survived"),
    of("equivalent"),
  ];
  const seen = killed + timeouts;
  const percent = seen + survived === 0 ? null : Math.round((1000 * seen) / (seen + survived)) / 10;
  return { name, mutants: found.length, killed, timeouts, survived, equivalent, killed_percent: percent };
}

await main();
