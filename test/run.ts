/**
 * `npm test`: runs test/*.test.ts with uvu, each file in a process of its own, two at a time (`--jobs N`: N).
 *
 *   tsx test/run.ts [--dir FOLDER] [--record FOLDER] [--jobs N] [PATTERN…]     only files whose path contains one of the patterns
 *
 * WebGPU runs on the machine's own adapter if it has one, else on SwiftShader; TEMPLORA_TEST_ADAPTER=system|swiftshader|
 * none forces the choice, and the test files find it there. The last line is `N passed, N failed, N skipped`. A file that
 * crashes, hangs, runs no test, or does not exit by itself counts as a failure.
 */
import { execFile, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify, stripVTControlCharacters } from "node:util";
import { buildWasm } from "../scripts/build-wasm.ts";
import { swiftShader } from "../scripts/software-vulkan.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const SECONDS_PER_FILE = Number(process.env.TEMPLORA_TEST_SECONDS ?? 1200);
/** How long a file may take to exit after its last test. */
const SECONDS_TO_EXIT = 20;

type Environment = Readonly<Record<string, string | undefined>>;

interface Outcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** `name (reason)` of each skipped test. */
  readonly skips: readonly string[];
  /** What went wrong besides failed tests. */
  readonly trouble: string | undefined;
  readonly output: string;
  readonly seconds: number;
}

/** One line about the adapter that Dawn finds under this environment; undefined when it finds none. */
async function findAdapter(env: Environment): Promise<string | undefined> {
  const script = `const { create } = await import("webgpu");
    const adapter = await create([]).requestAdapter();
    const info = adapter?.info;
    if (info && info.device !== "null-backend") {
      const features = ["shader-f16", "subgroups", "timestamp-query"].filter((name) => adapter.features.has(name));
      console.log([info.description || info.device, ...features].join(", "));
    }`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
    cwd: root,
    env: { ...process.env, ...env },
    timeout: 60_000,
  });
  return stdout.trim() || undefined;
}

/** The environment that gives test files their adapter. Throws when a forced choice cannot be met. */
async function chooseAdapter(): Promise<Environment> {
  const forced = process.env.TEMPLORA_TEST_ADAPTER;
  if (forced !== undefined && !["system", "swiftshader", "none"].includes(forced)) {
    throw new Error(`TEMPLORA_TEST_ADAPTER=${forced}: choose system, swiftshader or none`);
  }
  const candidates: [string, Environment | undefined][] = [];
  if (forced === undefined || forced === "system") candidates.push(["system", {}]);
  if (forced === undefined || forced === "swiftshader") candidates.push(["swiftshader", swiftShader()]);
  for (const [name, env] of candidates) {
    const adapter =
      env && (await findAdapter(env).catch((error: unknown) => void console.log(String(error))));
    if (!adapter) continue;
    console.log(`WebGPU adapter: ${name}: ${adapter}`);
    return { ...env, TEMPLORA_TEST_ADAPTER: name };
  }
  if (forced === "system" || forced === "swiftshader")
    throw new Error(`no WebGPU adapter of kind ${forced} found`);
  console.log("WebGPU adapter: none; what needs one is skipped");
  return { TEMPLORA_TEST_ADAPTER: "none" };
}

function runFile(file: string, env: Environment): Promise<Outcome> {
  const start = performance.now();
  const child = spawn(process.execPath, ["--import", "tsx", "test/support/child.ts", file], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let stdout = "";
  let trouble: string | undefined;
  const stop = (why: string): void => {
    trouble ??= why;
    child.kill("SIGKILL");
  };
  let timer = setTimeout(() => stop(`no end after ${SECONDS_PER_FILE} s`), SECONDS_PER_FILE * 1000);
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    stdout += stripVTControlCharacters(text);
    if (!summaryOf(stdout)) return;
    clearTimeout(timer);
    timer = setTimeout(
      () => stop(`did not exit in ${SECONDS_TO_EXIT} s after its last test`),
      SECONDS_TO_EXIT * 1000,
    );
  });
  return new Promise((resolve) => {
    child.once("error", (error) => (trouble ??= error.message));
    child.once("exit", () => setTimeout(() => child.stdout.destroy(), 1000).unref()); // a grandchild may hold it open
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      const counts = summaryOf(stdout);
      const { total, passed, skipped } = counts ?? { total: 0, passed: 0, skipped: 0 };
      if (!counts) trouble ??= `ended before its summary (${signal ?? `exit code ${code}`})`;
      else if (total + skipped === 0) trouble ??= "ran no test; is .run() missing?";
      else if (total === passed && (signal ?? code) !== 0)
        trouble ??= `all passed, but it ended with ${signal ?? code}`;
      const skips = [...stdout.matchAll(/^SKIPPED (.+)$/gm)].map(([, skip = ""]) => skip);
      while (skips.length < skipped) skips.push("(no reason given)");
      const failed = Math.max(total - passed, trouble === undefined ? 0 : 1);
      const seconds = (performance.now() - start) / 1000;
      resolve({ file, passed, failed, skipped, skips, trouble, output, seconds });
    });
  });
}

/** The totals that uvu prints last. */
function summaryOf(stdout: string): { total: number; passed: number; skipped: number } | undefined {
  const match = [...stdout.matchAll(/^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)\n/gm)].at(
    -1,
  );
  return match && { total: Number(match[1]), passed: Number(match[2]), skipped: Number(match[3]) };
}

function report({ file, passed, failed, skipped, trouble, output, seconds }: Outcome): void {
  const counts = `${passed} passed${failed ? `, ${failed} failed` : ""}${skipped ? `, ${skipped} skipped` : ""}`;
  console.log(`${failed ? "FAIL" : "ok  "} ${file}: ${counts}, ${seconds.toFixed(1)} s`);
  if (failed) console.log(`${output}${trouble === undefined ? "" : `\n${file}: ${trouble}`}\n`);
}

async function main(): Promise<number> {
  const { values, positionals: patterns } = parseArgs({
    options: {
      dir: { type: "string", default: "test" },
      record: { type: "string" },
      jobs: { type: "string", default: "2" },
    },
    allowPositionals: true,
  });
  const jobs = Number(values.jobs);
  if (!(Number.isInteger(jobs) && jobs > 0))
    throw new Error(`--jobs ${values.jobs}: a number of files at a time`);
  const files = readdirSync(join(root, values.dir))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => relative(root, join(root, values.dir, name)).replaceAll("\\", "/"))
    .filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)))
    .sort();
  const outcomes: Outcome[] = [];
  const troubles: string[] = [];
  try {
    if (files.length === 0) throw new Error(`no test file matches ${patterns.join(" ")}`);
    const [adapter] = await Promise.all([chooseAdapter(), buildWasm()]);
    const env = { ...adapter, TEMPLORA_TEST_RECORD: values.record };
    const queue = files.values();
    const worker = async (): Promise<void> => {
      for (const file of queue) {
        const outcome = await runFile(file, env);
        report(outcome);
        outcomes.push(outcome);
      }
    };
    await Promise.all(Array.from({ length: Math.min(jobs, availableParallelism()) }, worker));
  } catch (error) {
    troubles.push(error instanceof Error ? error.message : String(error));
  }

  const sum = (key: "passed" | "failed" | "skipped") =>
    outcomes.reduce((total, outcome) => total + outcome[key], 0);
  const failed = sum("failed") + troubles.length;
  console.log();
  for (const { file, skips } of outcomes) for (const skip of skips) console.log(`skipped: ${file}: ${skip}`);
  for (const trouble of troubles) console.log(trouble);
  for (const outcome of outcomes)
    if (outcome.failed) console.log(`failed: ${outcome.file}: ${outcome.failed}`);
  console.log(`${sum("passed")} passed, ${failed} failed, ${sum("skipped")} skipped`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
