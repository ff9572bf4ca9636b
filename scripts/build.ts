/**
 * `npm run build`: compiles the kernels, then everything that is published into dist/ as JavaScript (Node does not run
 * TypeScript below node_modules), with the .wasm files and the demo's text in the same place as in the source tree.
 * Types are checked by `npm run check`, not here.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { writeWhole } from "../engine/backends/host/files.ts";
import { buildWasm } from "./build-wasm.ts";
import { mobyDickText } from "./moby-dick.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const filesBelow = (folder: string, ending: RegExp): string[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => ending.test(path));

/** The first pages of Moby-Dick, up to the end of a paragraph: characters that `templora demo` reads. */
const DEMO_PAGES = 9212;

/** The declaration files below `dist` that the package's exports lead to. */
function declarations(dist: string): ReadonlySet<string> {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    exports: Readonly<Record<string, string | { readonly types: string }>>;
  };
  const seen = new Set<string>();
  const queue = Object.values(exports).flatMap((entry) =>
    typeof entry === "string" ? [] : [join(dist, relative("dist", entry.types))],
  );
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const [, specifier = ""] of readFileSync(file, "utf8").matchAll(/["'](\.[\w./-]+)\.[jt]s["']/g))
      queue.push(...[join(dirname(file), `${specifier}.d.ts`)].filter((path) => existsSync(path)));
  }
  return seen;
}

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
  const declared = declarations(dist);
  for (const path of filesBelow(dist, /\.d\.ts$/)) {
    const types = join(dist, path);
    if (declared.has(types)) continue;
    const module = types.replace(/\.d\.ts$/, ".js");
    const code = readFileSync(module, "utf8").replaceAll(/\/\*[^]*?\*\//g, "");
    for (const file of code.trim() === "export {};" ? [types, module] : [types]) rmSync(file); // it has but types
  }
  chmodSync(join(dist, "cli/main.js"), 0o755);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await build();
