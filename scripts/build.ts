/**
 * `npm run build`: compiles the kernels, then everything that is published into dist/ as JavaScript (Node does not run
 * TypeScript below node_modules), with the .wgsl and .wasm files in the same places as in the source tree.
 * Types are the business of `npm run check`: a build never fails on them.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildWasm } from "./build-wasm.ts";

const FOLDERS = ["engine", "kernels", "model", "templora", "cli"];
const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

await buildWasm();
rmSync(dist, { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
for (const folder of FOLDERS) {
  if (!existsSync(join(root, folder))) continue;
  for (const path of readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })) {
    if (/\.(wgsl|wasm)$/.test(path)) cpSync(join(root, folder, path), join(dist, folder, path));
  }
}
const main = join(dist, "cli/main.js");
if (existsSync(main)) chmodSync(main, 0o755);
