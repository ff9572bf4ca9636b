#!/usr/bin/env node
/** The `templora` binary: connects the process to program.ts. */
import {
  type ExitCode,
  StoppedError,
  InterruptedError,
  describeError,
  exitCode,
  exitCodeOf,
  writeError,
} from "./errors.ts";
import { run } from "./program.ts";
import { stopOnSignals } from "./signals.ts";

const { stdout, stderr, env } = process;
const stop = stopOnSignals();
stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader of a pipe may end first, as `head` does, and a terminal may be closed: nobody is left to tell.
  const gone = error.code === "EPIPE" || error.code === "EIO";
  const { message } = writeError("standard output", error);
  stop.abort(gone ? new InterruptedError(message) : new StoppedError(message));
});
stderr.on("error", () => undefined);
process.on("uncaughtException", (error) => {
  stderr.write(describeError(error, env));
  process.exit(exitCode.failed);
});
let code: ExitCode = await run(process.argv.slice(2), {
  get stdin() {
    return process.stdin; // opened only when it is used
  },
  ...{ stdout, stderr, env, signal: stop.signal },
  stop: (reason) => stop.abort(reason),
});
stdout.write("", () => setImmediate(end)); // an error of the last write comes before

function end(): void {
  const reason: unknown = stop.signal.reason;
  if (code === exitCode.done && reason instanceof StoppedError && exitCodeOf(reason) === exitCode.failed) {
    code = exitCode.failed;
    stderr.write(describeError(reason, env));
  }
  // With process.exit: a driver's thread or an open pipe would keep the process alive.
  stderr.write("", () => process.exit(code));
}
