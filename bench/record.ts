/** Records: what was measured with machine, commit and date, in bench/results of a checkout. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { arch, availableParallelism, cpus, platform, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { writeWhole } from "../engine/backends/host/files.ts";

const root = new URL("../", import.meta.url);

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly node: string;
}

export function machine(): MachineFacts {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${platform()} ${arch()}`,
    node: process.versions.node,
  };
}

/** The commit's short hash, "+" after it when the tree has changes; "none" outside a checkout. */
export function commit(): string {
  if (!isCheckout()) return "none";
  try {
    const git = (...args: string[]): string =>
      execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: "pipe" }).trim();
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain") === "" ? "" : "+");
  } catch {
    return "none";
  }
}

/** Whether this runs in a checkout: an installed package has no folder for records. */
export function isCheckout(): boolean {
  return existsSync(new URL(".git", root)) && existsSync(new URL("bench/record.ts", root));
}

/** Writes bench/results/<suite>-<date>-<commit>.json, or with a number behind it where that is there, and returns its path. `facts`: what it says beside; a `commit` among them stands for this one. */
export async function writeRecord(suite: string, facts: object, timings: readonly object[]): Promise<string> {
  const folder = new URL("bench/results/", root);
  const date = new Date().toISOString();
  const record = { suite, date, commit: commit(), machine: machine(), ...facts, timings };
  const name = `${suite}-${date.slice(0, 10)}-${record.commit}`;
  const pathOf = (n: number): string => fileURLToPath(new URL(`${name}${n > 1 ? `-${n}` : ""}.json`, folder));
  let n = 1;
  while (existsSync(pathOf(n))) n++;
  const path = pathOf(n);
  await writeWhole(path, `${JSON.stringify(record, null, 2)}\n`);
  return path;
}
