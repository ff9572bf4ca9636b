/**
 * `npm run build`: compiles the kernels, then everything that is published into dist/ as JavaScript (Node does not run
 * TypeScript below node_modules), with the .wasm files and the demo's text in the same place as in the source tree.
 * Types are checked by `npm run check`, not here.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { writeWhole } from "../engine/backends/host/files.ts";
import { buildWasm } from "./build-wasm.ts";
import { mobyDickText } from "./moby-dick.ts";

/** Folders of programs, which nothing imports from a package: they need no type declarations. */
const PROGRAMS = ["cli", "bench"];
const root = fileURLToPath(new URL("..", import.meta.url));

const filesBelow = (folder: string, ending: RegExp): string[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => ending.test(path));

/** The first pages of Moby-Dick, up to the end of a paragraph: characters that `templora demo` reads. */
const DEMO_PAGES = 9212;

/** Removes the folder `dist` and makes it anew. */
export async function build(dist = join(root, "dist")): Promise<void> {
  await buildWasm();
  const demo = join(root, "cli/build/demo.txt");
  await writeWhole(demo, mobyDickText().slice(0, DEMO_PAGES));
  rmSync(dist, { recursive: true, force: true });
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const args = [tsc, "-p", "tsconfig.build.json", "--outDir", dist];
  execFileSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  for (const path of filesBelow(join(root, "kernels"), /\.wasm$/))
    cpSync(join(root, "kernels", path), join(dist, "kernels", path));
  cpSync(demo, join(dist, "cli/build/demo.txt"));
  for (const folder of PROGRAMS)
    for (const path of filesBelow(join(dist, folder), /\.d\.ts$/)) rmSync(join(dist, folder, path));
  chmodSync(join(dist, "cli/main.js"), 0o755);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await build();
