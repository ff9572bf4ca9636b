/** The command line under test: in this process, with what it writes caught; or the real binary as a child. */
import { spawn } from "node:child_process";
import { InterruptedError } from "../../cli/errors.ts";
import { run } from "../../cli/program.ts";

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CallOptions {
  /** What a pipe delivers; undefined = standard input is a terminal. */
  readonly stdin?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with every piece written to stdout. */
  readonly onOutput?: (text: string, stop: () => void) => void;
  /** The same for stderr. */
  readonly onError?: (text: string, stop: () => void) => void;
  /** Make the streams terminals. */
  readonly terminal?: boolean;
}

/** A command line without flags that nothing reads: those of a recipe beside --no-templora, those of a LoRA beside another --adapt. */
export function sensible(argv: readonly string[]): string[] {
  const adapt = argv[argv.lastIndexOf("--adapt") + 1] ?? "";
  const idle = argv.includes("--no-templora")
    ? ["--rank", "--lr", "--dropout", "--warmup"]
    : ["full", "norms"].includes(adapt)
      ? ["--rank", "--dropout"]
      : [];
  return argv.filter((word, i) => !idle.includes(word) && !idle.includes(argv[i - 1] ?? ""));
}

/** Runs a command line in this process. */
export async function templora(argv: readonly string[], options: CallOptions = {}): Promise<Outcome> {
  const { stdin, env = {}, onOutput, onError, terminal = false } = options;
  const controller = new AbortController();
  const stop = (): void => controller.abort(new InterruptedError("stopped by the test"));
  let [stdout, stderr] = ["", ""];
  async function* pipe(): AsyncGenerator<Uint8Array | string> {
    if (stdin !== undefined) yield await Promise.resolve(stdin);
  }
  const tty = { isTTY: terminal, columns: 100 };
  const code = await run(argv, {
    stdin: Object.assign(pipe(), { isTTY: stdin === undefined }),
    stdout: {
      ...tty,
      write(text) {
        stdout += text;
        onOutput?.(text, stop);
      },
    },
    stderr: {
      ...tty,
      write(text) {
        stderr += text;
        onError?.(text, stop);
      },
    },
    env,
    signal: controller.signal,
    stop: (reason) => controller.abort(reason),
  });
  return { code, stdout, stderr };
}

/** Runs the real binary. */
export function binary(
  argv: readonly string[],
  options: { env?: Record<string, string>; interruptOn?: RegExp; signal?: NodeJS.Signals } = {},
): Promise<Outcome> {
  const child = spawn(process.execPath, ["--import", "tsx", "cli/main.ts", ...argv], {
    cwd: new URL("../..", import.meta.url),
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  let interrupted = false;
  const check = (): void => {
    if (interrupted || !options.interruptOn?.test(stdout + stderr)) return;
    interrupted = true;
    child.kill(options.signal ?? "SIGINT");
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    check();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    check();
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

export type JsonLine = Readonly<Record<string, unknown>>;

export function jsonLines(text: string): JsonLine[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as JsonLine);
}

/** A line without what differs from run to run. */
export function withoutTimes(line: JsonLine): JsonLine {
  const { seconds: _s, tokens_per_second: _t, peak_bytes: _p, ...rest } = line;
  return rest;
}
