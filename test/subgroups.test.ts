/**
 * Subgroups of 4, 8 and 16 threads: shaders whose lanes work together, by subgroups or by barriers, are right at each. Mesa's llvmpipe takes
 * the width from its environment when a process starts, so each width is a child process (support/subgroup_width.ts); at 32 and 64
 * llvmpipe itself adds wrongly.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWebGpu } from "../engine/backends/webgpu/device.ts";
import { noWebGpu, unless } from "./support/skip.ts";
import type { WidthReport } from "./support/subgroup_width.ts";

const tests = suite("subgroups");

async function noLlvmpipe(): Promise<string | undefined> {
  if (noWebGpu !== undefined) return noWebGpu;
  const { adapter, destroy } = await openWebGpu();
  destroy();
  return /llvmpipe/.test(adapter.device) ? undefined : "only llvmpipe can change the width of its subgroups";
}
const test = unless(await noLlvmpipe(), tests);

for (const width of [4, 8, 16]) {
  test(`subgroups of ${width}: whatever a workgroup's lanes do together is right`, async () => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--import", "tsx", fileURLToPath(new URL("support/subgroup_width.ts", import.meta.url))],
      { env: { ...process.env, LP_NATIVE_VECTOR_WIDTH: String(32 * width) } },
    );
    const report = JSON.parse(
      stdout.split("\n").findLast((line) => line.startsWith("{")) ?? "{}",
    ) as WidthReport;
    assert.is(report.subgroupSize, width);
    assert.equal(report.failures, []);
    const subgroup8 = report.sources.filter((source) => source.includes("subgroup8"));
    assert.is(subgroup8.length, width === 8 ? 2 : 0, "tiles for subgroups of 8 run at that width alone");
    assert.ok(report.sources.length > 12, report.sources.join());
  });
}

tests.run();
