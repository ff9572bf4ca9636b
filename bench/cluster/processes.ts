/** Linux's own figures of a worker's processes. */
import { readFileSync } from "node:fs";

/** Seconds of the processor's time that a process has had (in hundredths of a second). */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" "); // prettier-ignore
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The processes that a worker has started and in which BullMQ reads texts. */
export function readersOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number); // prettier-ignore
    return children.filter((child) => readFileSync(`/proc/${child}/cmdline`, "utf8").includes("bullmq"));
  } catch {
    return []; // it has just ended
  }
}
