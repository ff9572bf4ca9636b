/** A test file in a process of its own, on a copy of the checkout, until its first failure. */
import { spawn } from "node:child_process";
import { stripVTControlCharacters } from "node:util";

export type Environment = Readonly<Record<string, string>>;

export type Verdict = "passed" | "failed" | "timeout";

export interface Run {
  readonly verdict: Verdict;
  /** uvu's, as it prints them; null where it was stopped before. */
  readonly totals: string | null;
  readonly seconds: number;
}

/** `copy` is the folder of the copy; `seconds` is how long the file may take. */
export function run(copy: string, file: string, env: Environment, seconds: number): Promise<Run> {
  const start = performance.now();
  const child = spawn(process.execPath, ["--import", "tsx", "test/support/child.ts", file], {
    cwd: copy,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "ignore"],
    detached: true, // a group of its own, which ends with it, and it with this process
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
  const leave = (): void => stop("failed");
  process.once("exit", leave);
  const timer = setTimeout(() => stop("timeout"), seconds * 1000);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += stripVTControlCharacters(text);
    if (text.includes("✘")) stop("failed");
  });
  return new Promise((resolve) => {
    child.once("exit", (code) => {
      clearTimeout(timer);
      process.off("exit", leave);
      stop(code === 0 ? "passed" : "failed");
      setTimeout(() => child.stdout.destroy(), 1000).unref(); // somebody else may hold it open
    });
    child.once("close", () => {
      const totals = /Total: +\d+\n +Passed: +\d+\n +Skipped: +\d+/.exec(stdout)?.[0] ?? null;
      const took = (performance.now() - start) / 1000;
      resolve({ verdict: verdict ?? "failed", totals, seconds: took });
    });
  });
}
