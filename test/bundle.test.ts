/**
 * The library bundles for a browser: only its two modules in engine/backends/host use Node, and what a page loads at its start
 * contains neither of them.
 */
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { test } from "uvu";
import * as assert from "uvu/assert";

const adapters = ["engine/backends/host/files.ts", "engine/backends/host/workers.js"];

test("the library with both devices bundles for a browser; only two modules use Node, and they are loaded when needed", async () => {
  const entries = ["templora/index.ts", "kernels/index.ts", "engine/backends/webgpu/backend.ts"];
  const { metafile, warnings } = await build({
    absWorkingDir: fileURLToPath(new URL("..", import.meta.url)),
    entryPoints: entries,
    ...{ platform: "browser", format: "esm", bundle: true, splitting: true },
    external: ["node:*", "webgpu"],
    ...{ outdir: "bundle", write: false, metafile: true, logLevel: "silent" },
  });
  assert.equal(warnings, []);
  const asking = Object.entries(metafile.inputs).filter(([, { imports }]) =>
    imports.some(({ path, external }) => external === true && path !== "webgpu"),
  );
  assert.equal(asking.map(([path]) => path).sort(), adapters);
  for (const [path, { imports }] of asking)
    for (const one of imports) assert.match(one.path, /^node:/, `${path} asks for ${one.path}`);

  /** Everything that is loaded with `output` itself, without later imports. */
  const loaded = (output: string, seen = new Set<string>()): Set<string> => {
    if (seen.has(output)) return seen;
    seen.add(output);
    for (const { path, kind } of metafile.outputs[output]?.imports ?? [])
      if (kind !== "dynamic-import") loaded(path, seen);
    return seen;
  };
  // The cpu and webgpu devices themselves, too: a page may load either.
  const starts = [...entries, "engine/backends/cpu/backend.ts"];
  for (const entry of starts) {
    const output = Object.keys(metafile.outputs).find(
      (path) => metafile.outputs[path]?.entryPoint === entry || path.endsWith(entry.replace(".ts", ".js")),
    );
    const all = output === undefined ? [] : [...loaded(output)];
    assert.ok(all.length > 0, `${entry} is in no output`);
    const node = all.filter((path) => path.startsWith("node:") || path === "webgpu");
    assert.equal(node, [], `${entry} loads them at once`);
  }
});

test.run();
