/** Starts this package's own programs as child processes, from the sources or from what was built. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Sources under tsx, or what was built from them. */
export const isSource = import.meta.url.endsWith(".ts");

/** Arguments for node that start a program of this package, named by its path without the ending. */
export function program(name: string): string[] {
  const path = (ending: string): string => fileURLToPath(new URL(`../${name}${ending}`, import.meta.url));
  return isSource ? ["--import", "tsx", path(".ts")] : [path(".js")];
}

/** The command line that people install: the built one if a checkout has it. */
export function installedCommand(): { readonly args: string[]; readonly what: string } {
  const built = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
  if (isSource && existsSync(built)) return { args: [built], what: "dist" };
  return { args: program("cli/main"), what: isSource ? "sources through tsx" : "package" };
}

export interface Ran {
  /** Milliseconds from start to end. */
  readonly ms: number;
  /** Milliseconds until the first byte on stdout; NaN when there is none. */
  readonly firstMs: number;
  readonly stdout: string;
}

/** Runs a child to its end; throws when it fails. `onLine` is called with each line of its stdout. */
export function runNode(args: readonly string[], onLine?: (line: string) => void): Promise<Ran> {
  const start = performance.now();
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr, firstMs] = ["", "", NaN];
  let seen = 0;
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    if (stdout === "") firstMs = performance.now() - start;
    stdout += text;
    for (let end = stdout.indexOf("\n", seen); end >= 0; end = stdout.indexOf("\n", seen)) {
      const line = stdout.slice(seen, end);
      seen = end + 1;
      try {
        onLine?.(line);
      } catch (error) {
        child.kill();
        child.emit("error", error);
      }
    }
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      const ms = performance.now() - start;
      if (code === 0) resolve({ ms, firstMs, stdout });
      else reject(new Error(`${args.at(-1)}: exit ${code}: ${stderr.trim().slice(-500)}`));
    });
  });
}
