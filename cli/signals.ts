/** Ctrl-C, and what else asks a run to stop. */
import { InterruptedError, exitCode } from "./errors.ts";
import type { Io } from "./output.ts";

/** With the exit codes that shells give to processes which these have ended. */
const signals = {
  SIGINT: exitCode.interrupted,
  SIGTERM: exitCode.terminated,
  SIGHUP: exitCode.hungUp,
} as const;
type Signal = keyof typeof signals;
/** Launchers such as npm pass on a Ctrl-C that the terminal has sent to us as well: a second signal this soon is the same one. */
const ECHO_MS = 200;

/**
 * Aborts at the first signal. A second one finds the system's own handler, which ends the process at once; but SIGHUP, which the
 * system and the shell both send when a terminal is closed, is ignored from then on.
 */
export function stopOnSignals(): AbortController {
  const stop = new AbortController();
  let stopping = false;
  const onSignal = (name: Signal): void => {
    if (stopping) return;
    stopping = true;
    // Blocks on purpose: echoes must arrive while this handler, not the system's, is the one in place.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ECHO_MS);
    for (const signal of ["SIGINT", "SIGTERM"]) process.off(signal, onSignal as NodeJS.SignalsListener);
    process.stderr.write(`\ntemplora: ${name}: stopping after what is in progress; again to stop at once\n`);
    stop.abort(new InterruptedError(name, signals[name]));
  };
  for (const signal of Object.keys(signals) as Signal[])
    process.on(signal, onSignal as NodeJS.SignalsListener);
  return stop;
}

/** What a file or pipe delivers, until Ctrl-C: a pipe's writer may never come, or never end it. */
export async function* untilStopped<T>(source: AsyncIterable<T>, { signal }: Io): AsyncGenerator<T> {
  const stopped = new Promise<never>((_, stop) => {
    signal.addEventListener("abort", () => stop(signal.reason as Error), { once: true });
  });
  signal.throwIfAborted();
  const parts = source[Symbol.asyncIterator]();
  let waits = false;
  try {
    for (;;) {
      waits = true;
      const next = await Promise.race([parts.next(), stopped]);
      waits = false;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    const ended = parts.return?.(undefined).catch(() => undefined); // closes the file, once a read that is on its way has ended
    if (!waits) await ended; // a source that waits for ever would not even end
  }
}
