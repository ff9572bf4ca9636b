/** scripts/build-wasm.ts on a kernel made up here: what it builds, when it builds again, what it says of an error. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildWasm } from "../scripts/build-wasm.ts";

if (Number.parseInt(process.versions.node, 10) < 22) setFlagsFromString("--experimental-wasm-relaxed-simd");
const tests = suite("build-wasm");
const kernels = mkdtempSync(join(tmpdir(), "templora-kernels-"));
tests.after(() => rmSync(kernels, { recursive: true }));

const write = (path: string, text: string): void => {
  mkdirSync(join(kernels, path, ".."), { recursive: true });
  writeFileSync(join(kernels, path), text);
};

const compiled = (name: string): Promise<WebAssembly.Module> =>
  WebAssembly.compile(new Uint8Array(readFileSync(join(kernels, `build/${name}.wasm`))));

const run = (
  module: WebAssembly.Module,
  shared: boolean,
): { readonly probe: () => number; readonly heap_base: () => number } =>
  new WebAssembly.Instance(module, {
    env: { memory: new WebAssembly.Memory({ initial: 16, maximum: 65536, shared }) },
  }).exports as { readonly probe: () => number; readonly heap_base: () => number };

tests("each build chooses by ASC_FEATURE_RELAXED_SIMD, and takes the memory it is for", async () => {
  write("shared/which.as.ts", "export function which(): i32 { return ASC_FEATURE_RELAXED_SIMD ? 2 : 1; }");
  write("shared/wide.as.ts", "export let wide: i32 = 0;");
  write(
    "probe/probe.as.ts",
    `import { which } from "../shared/which.as"; export function probe(): i32 { return which(); }`,
  );
  assert.ok((await buildWasm(kernels)).built);
  for (const [name, shared, expected] of [
    ["relaxed", true, 2],
    ["relaxed-unshared", false, 2],
    ["plain", true, 1],
    ["plain-unshared", false, 1],
  ] as const) {
    const module = await compiled(name);
    const { probe, heap_base } = run(module, shared);
    assert.is(probe(), expected, name);
    assert.ok(heap_base() > 0);
    assert.throws(() => run(module, !shared), /mismatch in shared state/);
  }
});

tests("unchanged sources are not built again; changed ones are", async () => {
  assert.not((await buildWasm(kernels)).built);
  write("shared/which.as.ts", "export function which(): i32 { return 3; }");
  assert.ok((await buildWasm(kernels)).built);
});

tests("a changed constant in a *.both.ts reaches the module", async () => {
  const probe = `import { SIZE } from "./size.both"; export function probe(): i32 { return <i32>SIZE; }`;
  for (const size of [48, 80]) {
    write("probe/size.both.ts", `export const SIZE = ${size};`);
    write("probe/probe.as.ts", probe);
    assert.ok((await buildWasm(kernels)).built);
    assert.is(run(await compiled("plain-unshared"), false).probe(), size);
  }
});

tests("an error names the file and the line, and the next build tries again", async () => {
  write("probe/probe.as.ts", "export function probe(): i32 { return nowhere; }");
  for (let i = 0; i < 2; i++) {
    const message = await buildWasm(kernels).then(
      () => "built",
      (error: unknown) => String(error),
    );
    assert.match(message, /Cannot find name 'nowhere'/);
    assert.match(message, /probe\.as\.ts\(1,/);
  }
});

tests(
  "a listed weight format is chosen by its code, and read as what it describes: elements or blocks",
  async () => {
    write(
      "base/dtype.ts",
      `export const weightDTypes = ["f32", "odd"]; export const dtypes = { f32: { code: 0 }, odd: { code: 7 } };`,
    );
    const functions = (kind: number): string =>
      `export function widenRow<F>(base: usize, element: usize, count: i32, out: usize, scratch: usize): void {
      store<i32>(out, ${kind} + changetype<F>(0).bytes);
    }
    export function widenLines<F>(base: usize, element: usize, stride: usize, lines: i32, out: usize,
      near: usize, far: usize, step: usize, scratch: usize): void {}
    export function dotRows<F>(a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
      alpha: f32, accumulate: boolean, scratch: usize): void {}`;
    write("formats/elements.as.ts", functions(10));
    write("formats/blocks.as.ts", functions(20));
    const format = (kind: string, bytes: number): string =>
      `@unmanaged @final export class ${kind} { @inline get bytes(): i32 { return ${bytes}; } }`;
    write("formats/f32/f32.as.ts", format("Element", 4));
    write("formats/odd/odd.as.ts", format("Block", 3));
    write(
      "probe/probe.as.ts",
      `import { widenRow } from "../build/formats.as";
    function read(format: i32): i32 { widenRow(format, 0, 0, 0, 64, 0); return load<i32>(64); }
    export function probe(): i32 { return read(0) * 100 + read(7); }`,
    );
    assert.ok((await buildWasm(kernels)).built);
    assert.is(run(await compiled("plain-unshared"), false).probe(), 1423);
  },
);

tests.run();
