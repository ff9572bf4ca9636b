/** Exit codes, and one clear line for every error. */
import { BadInputError } from "../engine/errors.ts";
import { printable } from "./format.ts";

export const exitCode = {
  done: 0,
  failed: 1,
  /** Bad usage or bad input. */
  badInput: 2,
  /** Stopped before its end; what was written stays. By SIGHUP, by Ctrl-C or a reader that has left, by SIGTERM. */
  hungUp: 129,
  interrupted: 130,
  terminated: 143,
} as const;
export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

/** A run that was stopped before its end. What it has written so far is kept. */
export class StoppedError extends Error {
  override readonly name: string = "StoppedError";
}

/** The user asked for it; nothing is left to say. */
export class InterruptedError extends StoppedError {
  override readonly name = "InterruptedError";
  readonly exitCode: ExitCode;

  constructor(message: string, code: ExitCode = exitCode.interrupted) {
    super(message);
    this.exitCode = code;
  }
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof InterruptedError) return error.exitCode;
  return error instanceof BadInputError ? exitCode.badInput : exitCode.failed;
}

/** The error that ended a command, when closing what it had open failed as well. */
export function firstError(error: unknown): unknown {
  return error instanceof Error && "suppressed" in error ? firstError(error.suppressed) : error;
}

/** The library names options where the command line has flags: `device "cpu"` is --device cpu, `threads` is --threads. */
export function asFlags(text: string): string {
  return text
    .replaceAll(/\bdevice "(\w+)"/g, "--device $1")
    .replaceAll(/(^|\()threads(?= (?:\d|has ))/g, "$1--threads")
    .replaceAll(/^reuseCache(?= \d)/g, "--reuse-cache")
    .replaceAll(
      /^(?:guard|replay)(?= \d)|^(?:ema|context_loss)(?=:)|\bcontext_grad\b|\bstep_tokens\b/g,
      flagOf,
    )
    .replaceAll(/^recipe\.(\w+)(?=[ :])/g, (_, key: string) => flagOf(key));
}

/** What a user calls a key of a recipe. */
export const flagOf = (key: string): string => `--${key.replaceAll("_", "-")}`;

/** Whether the system has no room for an array. */
export function outOfMemory(error: unknown): boolean {
  return error instanceof RangeError && error.message.includes("allocation failed"); // V8's words
}

/** `templora: …` on one line. Under DEBUG the stack follows, unless the input was to blame. */
export function describeError(error: unknown, env: Readonly<Record<string, string | undefined>>): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  const message = outOfMemory(error) ? `out of memory: ${text}` : text;
  const line = `templora: ${printable(asFlags(message.trim()).replaceAll(/\s*\n\s*/g, "; "))}\n`;
  const { DEBUG } = env;
  const wantsStack = DEBUG !== undefined && DEBUG !== "" && DEBUG !== "0";
  if (!wantsStack || exitCodeOf(error) !== exitCode.failed || !(error instanceof Error)) return line;
  return `${line}${error.stack ?? ""}\n`;
}

/** The operating system's refusal to write `path`, in words. */
export function writeError(path: string, error: unknown): Error {
  const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
  const words: Record<string, string> = {
    ENOENT: "its folder does not exist",
    ENOTDIR: "a part of the path is not a folder",
    EEXIST: "something else has this name: a file, or a link that leads nowhere",
    EISDIR: "this is a folder; name a file",
    EACCES: "no permission to write it",
    EPERM: "no permission to write it",
    ENXIO: "it cannot be opened for writing",
    EROFS: "the file system is read-only",
    ELOOP: "its links lead in a circle",
  };
  const reason = words[code];
  const full: Record<string, string> = {
    ENOSPC: "no space left to write it",
    EDQUOT: "no space left to write it within the user's quota",
    EFBIG: "it would be longer than a file may be here (ulimit -f, or the file system)",
  };
  if (full[code]) return new Error(`${path}: ${full[code]}`);
  return reason ? new BadInputError(`${path}: ${reason}`) : new Error(`${path}: cannot be written (${code})`);
}
