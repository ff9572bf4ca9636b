/**
 * Installs what templora is compared with, once: the npm packages of this folder's lock file, and a Python environment with
 * requirements.txt in the cache folder (or the interpreter that TEMPLORA_PEERS_PYTHON names). None is a dependency of templora.
 */
import { execFileSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "../../engine/backends/host/files.ts";

const folder = fileURLToPath(new URL("./", import.meta.url));
const run = (program: string, ...args: string[]): void => {
  execFileSync(program, args, { cwd: folder, stdio: ["ignore", 2, 2] });
};

/** The Python to run update.py with. */
export function python(): string {
  const named = process.env["TEMPLORA_PEERS_PYTHON"];
  return named !== undefined && named !== "" ? named : join(cacheFolder(), "peers-python", "bin", "python");
}

/** npm's own note of what it installed is as new as the lock file. */
function installed(): boolean {
  const note = join(folder, "node_modules", ".package-lock.json");
  const changed = (path: string): number => statSync(path).mtimeMs;
  return existsSync(note) && changed(note) >= changed(join(folder, "package-lock.json"));
}

function knows(interpreter: string): boolean {
  try {
    execFileSync(interpreter, ["-c", "import torch, transformers, peft, gguf"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

export function install(): void {
  // Not `npm ci`: it refuses a lock file that lacks other platforms' builds of node-llama-cpp. No install scripts: it has its own.
  if (!installed()) run("npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts");
  if (knows(python())) return;
  const environment = join(cacheFolder(), "peers-python");
  run("python3", "-m", "venv", environment);
  run(join(environment, "bin", "python"), "-m", "pip", "install", "--quiet", "-r", "requirements.txt");
}
