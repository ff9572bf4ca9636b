/** Ctrl-C as a request to stop. */

/**
 * Aborts at the first SIGINT or SIGTERM. A second one finds the system's own handler, which ends the process at once,
 * even in the middle of a long kernel.
 */
export function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => {
      process.stderr.write(
        `\ntemplora: ${name}: stopping as soon as the chunk in progress is done; again to stop at once\n`,
      );
      stop.abort();
    });
  }
  return stop.signal;
}
