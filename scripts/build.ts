/**
 * `npm run build`: compiles the kernels, then everything that is published into dist/ as JavaScript (Node does not run
 * TypeScript below node_modules), with the .wasm files in the same place as in the source tree.
 * Types are checked by `npm run check`, not here.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { buildWasm } from "./build-wasm.ts";

/** Folders of programs, which nothing imports from a package: they need no type declarations. */
const PROGRAMS = ["cli", "bench"];
const root = fileURLToPath(new URL("..", import.meta.url));

const filesBelow = (folder: string, ending: RegExp): string[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => ending.test(path));

/** Removes the folder `dist` and makes it anew. */
export async function build(dist = join(root, "dist")): Promise<void> {
  await buildWasm();
  rmSync(dist, { recursive: true, force: true });
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const args = [tsc, "-p", "tsconfig.build.json", "--outDir", dist];
  execFileSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  for (const path of filesBelow(join(root, "kernels"), /\.wasm$/))
    cpSync(join(root, "kernels", path), join(dist, "kernels", path));
  for (const folder of PROGRAMS)
    for (const path of filesBelow(join(dist, folder), /\.d\.ts$/)) rmSync(join(dist, folder, path));
  chmodSync(join(dist, "cli/main.js"), 0o755);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await build();
