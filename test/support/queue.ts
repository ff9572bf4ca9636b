/** Jobs for the queue's tests: small books, what `templora ppl` alone makes of them, and what workers made. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type JsonLine, jsonLines, templora, withoutTimes } from "./cli.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const excerpt = readFileSync(join(root, "test/golden/moby-dick-excerpt.txt"), "utf8");
export const tiny = join(root, "test/golden/tiny-tied");

/** How the books are read. */
export const reading = { chunk: 32, window: 64, rank: 4, lr: 0.01, dropout: 0.1, seed: 3 } as const;
const flags = Object.entries(reading).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
export const machine = ["--device", "cpu", "--threads", "1"];

/** Makes books of so many characters, and a job file for them; returns its path. */
export function makeJob(folder: string, books: number, characters: number, more: object = {}): string {
  mkdirSync(join(folder, "books"), { recursive: true });
  for (let i = 0; i < books; i++) {
    const from = (377 * i) % (excerpt.length - characters);
    writeFileSync(join(folder, "books", bookName(i)), excerpt.slice(from, from + characters));
  }
  const path = join(folder, "job.json");
  const job = { texts: ["books"], models: [tiny], recipes: [{ recipe: "paper" }], options: reading, ...more };
  writeFileSync(path, JSON.stringify(job));
  return path;
}

export const bookName = (i: number): string => `book${String(i).padStart(3, "0")}.txt`;

/** What differs from run to run, and where a text was: the rest must be equal to the bit. */
function compared(line: JsonLine): JsonLine {
  const { text, ...rest } = withoutTimes(line);
  return { ...rest, ...(typeof text === "string" && { text: text.replace(/^.*\//, "") }) };
}

/** The lines of a lone run. */
export async function lone(folder: string, i: number): Promise<JsonLine[]> {
  const read = ["ppl", join(folder, "books", bookName(i)), "--model", tiny, "--recipe", "paper", ...flags];
  const { code, stdout, stderr } = await templora([...read, ...machine, "--json", "-"]);
  if (code !== 0) throw new Error(stderr);
  return jsonLines(stdout).map(compared);
}

export interface Made {
  readonly task: JsonLine;
  readonly name: string;
  readonly lines: JsonLine[];
}

/** A result as it is in a store. */
export function made(text: string): Made {
  const [task = {}, ...lines] = jsonLines(text);
  const { name } = task["text"] as { name: string };
  return { task, name: name.replace(/^.*\//, ""), lines: lines.map(compared) };
}

/** A worker as a process of its own, which can be killed with its child or without it. */
export function startWorker(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): WorkerProcess {
  const child = spawn(process.execPath, ["--import", "tsx", "cli/main.ts", "worker", ...argv], {
    ...{ cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"], detached: true },
  });
  return new WorkerProcess(child);
}

export class WorkerProcess {
  said = "";
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.said += text));
    this.ended = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  kill(signal: NodeJS.Signals, withChild = false): void {
    if (this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null)
      return;
    if (withChild) process.kill(-this.#child.pid, signal);
    else this.#child.kill(signal);
  }
}
