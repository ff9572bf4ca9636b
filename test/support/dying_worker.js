// @ts-check
/**
 * A worker thread of the cpu device, the second of which ends as TEMPLORA_TEST_DEATH says: `exit` or `throw` inside a
 * command, `start` before it is ready, `idle` while it waits for its first command.
 */
import { Control } from "../../engine/backends/cpu/control.js";
import { handed } from "../../engine/backends/host/workers.js";

const { thread } = /** @type {import("../../engine/backends/cpu/worker.js").WorkerData} */ (handed);
const way = process.env.TEMPLORA_TEST_DEATH;
if (thread === 2) {
  if (way === "start") process.exit(3);
  if (way === "idle") performance.now = () => process.exit(3);
  Control.prototype.work = () => {
    if (way === "exit") process.exit(3);
    throw new Error("thrown inside a command");
  };
}
await import("../../engine/backends/cpu/worker.js");
