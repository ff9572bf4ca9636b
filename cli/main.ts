#!/usr/bin/env node
/** The `templora` binary: connects the process to program.ts. */
import { describeError, exitCode, writeError } from "./errors.ts";
import { run } from "./program.ts";
import { stopSignal } from "./signals.ts";

const { stdout, stderr, env } = process;
stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader of a pipe may leave before we are done, as `head` does: no word needed.
  if (error.code !== "EPIPE") stderr.write(describeError(writeError("standard output", error), env));
  process.exit(exitCode.failed);
});
stderr.on("error", () => process.exit(exitCode.failed));
process.on("uncaughtException", (error) => {
  stderr.write(describeError(error, env));
  process.exit(exitCode.failed);
});
const code = await run(process.argv.slice(2), {
  get stdin() {
    return process.stdin; // opened when somebody asks
  },
  ...{ stdout, stderr, env, signal: stopSignal() },
});
// Not by running out of work: a driver's thread or an open pipe would keep the process.
stdout.write("", () => stderr.write("", () => process.exit(code)));
