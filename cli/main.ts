#!/usr/bin/env node
/** The `templora` binary: connects the process to program.ts. */
import { describeError, exitCode, writeError } from "./errors.ts";
import { run } from "./program.ts";
import { stopSignal } from "./signals.ts";

const { stdout, stderr, env } = process;
stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader of a pipe may end first, as `head` does: no message then.
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
    return process.stdin; // opened only when it is used
  },
  ...{ stdout, stderr, env, signal: stopSignal() },
});
// With process.exit: a driver's thread or an open pipe would keep the process alive.
stdout.write("", () => stderr.write("", () => process.exit(code)));
