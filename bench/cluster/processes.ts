/** Linux's own figures of a worker's processes. */
import { readFileSync } from "node:fs";

/** The processes that a worker has started and in which BullMQ reads texts. */
export function readersOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number); // prettier-ignore
    return children.filter((child) => readFileSync(`/proc/${child}/cmdline`, "utf8").includes("bullmq"));
  } catch {
    return []; // it has just ended
  }
}
