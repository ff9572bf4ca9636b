/**
 * The parts in which outputs grow (FILE.part) stay where a run is killed. Its state names them, with the process that was writing, and the
 * run that comes to the end in its stead removes them: only those of its own outputs, and no file but the very one that was written.
 */
import { rmSync, statSync } from "node:fs";
import { hostname } from "node:os";

export type Parts = Readonly<Record<string, string>>;

/** What has outputs that grow in parts. */
export interface Growing {
  /** Where it is to appear. */
  readonly target: string;
  /** Where it grows; null when it is written through. */
  readonly part: string | null;
}

const fileOf = (path: string): string | null => {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found ? `${found.dev}:${found.ino}` : null;
};

/** The parts of this process, as a state keeps them. */
export function partsOf(outputs: readonly (Growing | null)[]): Parts {
  const parts = outputs.flatMap((output) => output?.part ?? []);
  return Object.fromEntries(
    parts.map((path) => [path, [hostname(), process.pid, fileOf(path)].join(" ")] as const),
  );
}

/** Removes the parts in which processes that have ended were writing these outputs. */
export function removeLeft(earlier: Parts, outputs: readonly (Growing | null)[]): void {
  const targets = outputs.flatMap((output) => output?.target ?? []);
  for (const [path, by] of Object.entries(earlier)) {
    const target = path.replace(/(\.\d+)?\.part$/, "");
    const [host = "", pid = "", file = ""] = by.split(" ");
    const own = path !== target && targets.includes(target);
    if (own && host === hostname() && !isAlive(Number(pid)) && file === fileOf(path)) rmSync(path);
  }
}

/** Whether a process of this machine has this number. */
export function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false; // such a number would name a group of processes
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
