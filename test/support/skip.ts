/** Skipping with a reason: uvu counts skipped tests without their reasons. test/run.ts lists these lines above its summary. */
import type { Test } from "uvu";

/** Why tests that need WebGPU cannot run here, or undefined. test/run.ts looks for an adapter and passes on what it found. */
export const noWebGpu =
  process.env.TEMPLORA_TEST_ADAPTER === "none" ? "no WebGPU adapter on this machine" : undefined;

/** Registers tests on `suite`, or skips them when there is a `reason`. */
export function unless<Context>(
  reason: string | undefined,
  suite: Test<Context>,
): (name: string, body: (context: Context) => void | Promise<void>) => void {
  return (name, body) => {
    if (reason === undefined) return suite(name, body);
    suite.skip(name);
    console.log(`SKIPPED ${name} (${reason})`);
  };
}
