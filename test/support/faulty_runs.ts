/** Commands in which a device fails: what comes of them, and whether it is what was promised (docs/reliability.md). */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Outcome, type JsonLine, jsonLines, templora, withoutTimes } from "./cli.ts";
import { type Fault, plant } from "./device_faults.ts";
import { goldenFolder } from "./golden.ts";

/** How a run under a fault came to the undisturbed run's output. */
export const ends = ["undisturbed", "rebuilt", "resumed", "begun anew"] as const;
export type End = (typeof ends)[number];

const folder = mkdtempSync(join(tmpdir(), "templora-device-faults-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));

const excerpt = readFileSync(new URL("moby-dick-excerpt.txt", goldenFolder), "utf8");
const books = [0, 1].map((i) => {
  const path = join(folder, `book${i}.txt`);
  writeFileSync(path, excerpt.slice(900 * i, 900 * i + 110));
  return path;
});
const [book = ""] = books;
const pairs = join(folder, "pairs.json");
const { pairs: some } = JSON.parse(readFileSync(new URL("translation.json", goldenFolder), "utf8")) as { readonly pairs: unknown[] }; // prettier-ignore
writeFileSync(pairs, JSON.stringify(some));
const learning = ["--rank", "4", "--lr", "0.01", "--dropout", "0.1", "--model", fileURLToPath(new URL("tiny-tied", goldenFolder))]; // prettier-ignore
const windows = ["--chunk", "8", "--window", "8"];
const writing = ["generate", "--prompt-file", book, "--tokens", "20", "--temperature", "1", ...windows];

export const commands = {
  ppl: ["ppl", ...books, "--epochs", "1", ...windows],
  sweep: ["sweep", book, "--epochs", "1,2", "--context-grad", "off", "--reuse-cache", "1", ...windows],
  generate: writing,
  "generate beside": [...writing, "--schedule", "parallel"],
  translate: ["translate", pairs, "--max-new-tokens", "4"],
} as const satisfies Record<string, readonly string[]>;
export type Command = keyof typeof commands;

let states = 0;
/** A command line; its state is a file of its own. */
export function argvOf(command: Command, kind: Fault["kind"], threads = 2): string[] {
  const device = kind === "cpu" ? ["--device", "cpu", "--threads", String(threads)] : ["--device", "webgpu"];
  const state = join(folder, `${states++}.state`);
  return [...commands[command], ...learning, ...device, "--seed", "3", "--json", "-", "--state", state];
}

export const linesOf = ({ stdout }: Outcome): JsonLine[] => jsonLines(stdout).map(withoutTimes);

export type Runner = (argv: readonly string[], fault: Fault | null) => Promise<Outcome>;

/** In this process: leaks are seen, too. */
export const here: Runner = async (argv, fault) => {
  using planted = fault && (await plant(fault));
  const outcome = await templora(argv);
  const leaks = planted?.liveBuffers ?? 0;
  return { ...outcome, stderr: outcome.stderr + (leaks > 0 ? `${leaks} buffers live on\n` : "") };
};

const LONGEST_MS = 120_000;

/** In a process of its own, which is ended where it hangs. */
export const child: Runner = (argv, fault) => {
  const planting = fault ? ["--import", "./test/support/plant_fault.ts"] : [];
  const one = spawn(process.execPath, ["--import", "tsx", ...planting, "cli/main.ts", ...argv], {
    cwd: new URL("../..", import.meta.url),
    env: { ...process.env, TEMPLORA_TEST_FAULT: JSON.stringify(fault) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const timer = setTimeout(() => one.kill("SIGKILL"), LONGEST_MS);
  let [stdout, stderr] = ["", ""];
  one.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  one.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve) => {
    one.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
};

/** Runs a command under a fault, and once more where it ends by an error. Throws where anything is not as promised. */
export async function faultyRun(
  run: Runner,
  argv: readonly string[],
  fault: Fault,
  whole: readonly JsonLine[],
): Promise<End> {
  const first = await run(argv, fault);
  const wrong = (what: string, { code, stderr }: Outcome = first): Error =>
    new Error(`${JSON.stringify(fault)} in ${argv[0]}: ${what}: it ended with ${code} and said\n${stderr}`);
  const isWhole = (outcome: Outcome): boolean =>
    outcome.code === 0 && JSON.stringify(linesOf(outcome)) === JSON.stringify(whole);
  if (/unhandled|buffers live on|\n +at /i.test(first.stderr)) throw wrong("a leak, or a stack trace");
  if (first.code === 0) {
    if (!isWhole(first)) throw wrong("other bits");
    return first.stderr.includes(": opened anew, the run goes on") ? "rebuilt" : "undisturbed";
  }
  if (first.code !== 1 || !/\ntemplora: [^\n]+\n$/.test(`\n${first.stderr}`)) throw wrong("no clear error");
  const kept = first.stderr.includes("the same command with --resume goes on");
  const second = await run(kept ? [...argv, "--resume"] : argv, null);
  if (!isWhole(second)) throw wrong(`${kept ? "resumed" : "begun anew"}: other bits`, second);
  return kept ? "resumed" : "begun anew";
}
