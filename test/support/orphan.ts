/** A task that writes its process's number into a file, kills its worker, and says something before it can learn of that. */
import "../../cli/queue/end_with_worker.ts";
import { writeFileSync } from "node:fs";
import type { SandboxedJob } from "bullmq";

export default function work({ data }: SandboxedJob<{ file: string }>): void {
  writeFileSync(data.file, String(process.pid));
  const worker = process.ppid;
  process.kill(worker, "SIGKILL");
  while (process.ppid === worker);
  process.stderr.write("to nobody\n");
}
