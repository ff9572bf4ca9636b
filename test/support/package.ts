/**
 * The package as its users have it: built, packed, and installed into an empty folder without its optional dependencies.
 * What it depends on is linked from this repository, so that npm asks no registry.
 */
import { execFile, spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "../../scripts/build.ts";
import type { Outcome } from "./cli.ts";

export const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

export class Installed {
  /** The user's folder. */
  readonly folder: string;
  readonly manifest: Manifest;
  readonly tarball: string;

  private constructor(folder: string, manifest: Manifest) {
    this.folder = folder;
    this.manifest = manifest;
    this.tarball = join(folder, `${manifest.name}-${manifest.version}.tgz`);
  }

  static async make(): Promise<Installed> {
    const folder = mkdtempSync(join(tmpdir(), "templora-package-"));
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
    const installed = new Installed(folder, manifest);
    try {
      await installed.#pack();
      await installed.#install();
    } catch (error) {
      installed.remove();
      throw error;
    }
    return installed;
  }

  /** A path inside the installed package. */
  path(...parts: readonly string[]): string {
    return join(this.folder, "node_modules", this.manifest.name, ...parts);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Runs this Node in the user's folder. */
  run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    const child = spawn(process.execPath, args, {
      cwd: this.folder,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    return new Promise((done, failed) => {
      child.once("error", failed);
      child.once("close", (code) => done({ code, stdout, stderr }));
    });
  }

  /** From a copy of what npm packs, so that a dist/ in use stays as it is. */
  async #pack(): Promise<void> {
    const copy = join(this.folder, "copy");
    mkdirSync(copy);
    for (const name of ["README.md", "LICENSE"]) cpSync(join(root, name), join(copy, name));
    // without its scripts: npm would build again
    writeFileSync(join(copy, "package.json"), JSON.stringify({ ...this.manifest, scripts: {} }));
    await build(join(copy, "dist"));
    await npm(copy, "pack", "--pack-destination", this.folder);
    rmSync(copy, { recursive: true });
  }

  async #install(): Promise<void> {
    const { name, dependencies } = this.manifest;
    const overrides = Object.fromEntries(
      Object.keys(dependencies).map((dependency) => [
        dependency,
        `file:${join(root, "node_modules", dependency)}`,
      ]),
    );
    const user = {
      private: true,
      type: "module",
      dependencies: { [name]: `file:${this.tarball}` },
      overrides,
    };
    writeFileSync(join(this.folder, "package.json"), JSON.stringify(user));
    await npm(this.folder, "install", "--offline", "--omit=optional", "--ignore-scripts", "--no-audit");
  }
}

/** npm in a folder of its own: the settings of an npm that runs this test are for this repository. */
export async function npm(folder: string, ...args: readonly string[]): Promise<string> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  const windows = process.platform === "win32";
  const { stdout } = await promisify(execFile)("npm", args, { cwd: folder, env, shell: windows });
  return stdout;
}
