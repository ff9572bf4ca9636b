/**
 * SwiftShader, a Vulkan driver that computes on the CPU, out of the npm package @sparticuz/chromium: WebGPU for tests on
 * machines that have no Vulkan driver, without root. Linux on x86-64 only.
 *
 *   tsx scripts/software-vulkan.ts      prints the environment as NAME=VALUE lines (for `env $(…) node …`)
 *
 * The loader reads the environment when a process starts, so a launcher must pass it to a child.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";

const FILES = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"];

/** Unpacks SwiftShader once; the environment that makes a child process use it, or undefined where it cannot run. */
export function swiftShader(): Readonly<Record<string, string>> | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  // The package's entry lies in <package>/build/cjs, and its exports hide everything else.
  const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium");
  const root = join(dirname(entry), "../..");
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const cache = fileURLToPath(new URL("../node_modules/.cache/templora/swiftshader", import.meta.url));
  const folder = join(cache, version);
  if (!existsSync(folder)) {
    mkdirSync(cache, { recursive: true });
    const unpacked = mkdtempSync(join(cache, "unpacking-"));
    const input = brotliDecompressSync(readFileSync(join(root, "bin/swiftshader.tar.br")));
    execFileSync("tar", ["-x", "--no-same-owner", "-C", unpacked, ...FILES], { input });
    try {
      renameSync(unpacked, folder);
    } catch (error) {
      rmSync(unpacked, { recursive: true });
      if (!existsSync(folder)) throw error; // otherwise another process was faster
    }
  }
  const icd = join(folder, "vk_swiftshader_icd.json");
  return { LD_LIBRARY_PATH: folder, VK_ICD_FILENAMES: icd, VK_DRIVER_FILES: icd };
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const env = swiftShader();
  if (env) for (const [name, value] of Object.entries(env)) console.log(`${name}=${value}`);
  else {
    console.error("SwiftShader comes for Linux on x86-64 only");
    process.exitCode = 1;
  }
}
