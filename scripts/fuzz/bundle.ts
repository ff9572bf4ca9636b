/**
 * Makes the program that a fuzzing process runs: child.ts and all of ours that its targets need, in one file, by esbuild. On the way our readers
 * get their counters, and Node's modules for files and processes are guarded (guard.ts).
 */
import { type Plugin, build } from "esbuild";
import * as fs from "node:fs";
import * as fsPromises from "node:fs/promises";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { COUNTERS } from "./counters.ts";
import { type Instrumented, instrument } from "./instrument.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const here = (name: string): string => join(root, "scripts/fuzz", name);

/** What is read by coverage: all that reads. The engine and its kernels compute, and would be slow. */
const COUNTED = /^(model|templora|cli)\//;
/** What may open files through the guard alone. */
const GUARDED = /^(engine|kernels|model|templora|cli|bench)\//;

export interface Module extends Pick<Instrumented, "next" | "words"> {
  readonly first: number;
}

/** What the child is told of its own code. */
export interface Facts {
  readonly counters: number;
  /** Of each module: its first counter, that behind its last, its words. */
  readonly modules: readonly Module[];
}

/** Writes child.mjs and facts.json into `folder`, and returns the path of the former. `targets`: a module with other targets than index.ts. */
export async function bundle(folder: string, targets = here("targets/index.ts")): Promise<string> {
  const path = join(folder, "child.mjs");
  const modules: Module[] = [];
  let counters = 0;
  const isOurs = (file: string, which: RegExp): boolean =>
    which.test(relative(root, file).replaceAll("\\", "/")) || file === targets;
  const plugin: Plugin = {
    name: "templora-fuzz",
    setup(making) {
      making.onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
        if (!isOurs(file, COUNTED)) return undefined;
        const { code, next, words } = instrument(readFileSync(file, "utf8"), file, counters);
        modules.push({ first: counters, next, words });
        counters = next;
        return { contents: code, loader: "ts" };
      });
      making.onResolve({ filter: /targets\/index\.ts$/ }, () => ({ path: targets }));
      making.onResolve({ filter: /^node:/ }, ({ path: name, importer }) =>
        name in guarded && isOurs(importer, GUARDED) ? { path: name, namespace: "guarded" } : null,
      );
      making.onLoad({ filter: /./, namespace: "guarded" }, ({ path: name }) => ({
        contents: guarded[name] ?? "",
        resolveDir: root,
        loader: "js",
      }));
    },
  };
  await build({
    ...{ entryPoints: [here("child.ts")], outfile: path, bundle: true, logLevel: "error" },
    ...{ platform: "node", format: "esm", target: "node20", packages: "external", sourcemap: "inline" },
    banner: { js: `globalThis.${COUNTERS} = new Uint32Array(2 ** 16);` },
    supported: { using: false },
    plugins: [plugin],
  });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  writeFileSync(join(folder, "facts.json"), JSON.stringify({ counters, modules } satisfies Facts));
  return path;
}

const guard = `import * as guard from ${JSON.stringify(here("guard.ts"))};`;
const named = (module: object, made: (name: string) => string): string =>
  Object.keys(module)
    .filter((name) => name !== "default")
    .map((name) => `export const ${name} = ${made(name)};`)
    .join("\n");

/** What stands in the place of Node's modules. */
const guarded: Readonly<Record<string, string>> = {
  "node:fs": `${guard}import * as real from "node:fs";${named(fs, (name) => `guard.watched("${name}", real.${name})`)}`,
  // the same without a thread's help, which takes ten times as long
  "node:fs/promises": `${guard}import * as real from "node:fs/promises";${named(fsPromises, (name) => `guard.atOnce("${name}", real.${name})`)}`,
  // no server is waited for
  "node:timers/promises": `export { setImmediate } from "node:timers/promises"; export const setTimeout = async () => {};`,
  "node:child_process": `${guard}${["exec", "execFile", "execFileSync", "execSync", "fork", "spawn", "spawnSync"].map((name) => `export const ${name} = guard.executed;`).join("")}`,
};
