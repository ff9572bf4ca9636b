/**
 * `npm run build`: compiles the kernels, then everything that is published into dist/ as JavaScript (Node does not run
 * TypeScript below node_modules), with the .wasm files in the same place as in the source tree.
 * Types are the business of `npm run check`: a build never fails on them.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildWasm } from "./build-wasm.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

await buildWasm();
rmSync(dist, { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
cpSync(join(root, "kernels/build"), join(dist, "kernels/build"), {
  recursive: true,
  filter: (path) => !extname(path) || path.endsWith(".wasm"),
});
const main = join(dist, "cli/main.js");
if (existsSync(main)) chmodSync(main, 0o755);
