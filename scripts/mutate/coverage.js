/** Loaded before a test file and its children: leaves the numbers of the mutants that were reached in a file of $MUTANTS_REACHED. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { threadId } from "node:worker_threads";

process.on("exit", () => {
  /** @type {{ __stryker__?: { mutantCoverage?: { static: object } } }} */
  const instrumented = globalThis;
  const reached = Object.keys(instrumented.__stryker__?.mutantCoverage?.static ?? {}).map(Number);
  const file = `${process.pid}-${threadId}.json`;
  writeFileSync(join(process.env.MUTANTS_REACHED ?? ".", file), JSON.stringify(reached));
});
