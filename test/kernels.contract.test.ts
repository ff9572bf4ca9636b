/**
 * What a declaration says is what its sources have: the Params struct and the bindings of each shader, the parameter
 * list of each AssemblyScript export; no file is left out. Generated from kernels/index.ts.
 */
import { at } from "../kernels/base/at.ts";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ShaderText } from "../engine/backends/webgpu/sources.ts";
import { kernels } from "../kernels/index.ts";
import { type AnyKernel, checkCall } from "../kernels/kernel.ts";
import { plansOf } from "./support/plans.ts";

const root = new URL("../kernels/", import.meta.url);
const list = Object.values<AnyKernel>(kernels);
const read = (url: URL): string => readFileSync(url, "utf8");

/** The paths of all files below kernels/, without those that the build makes. */
const files = readdirSync(root, { recursive: true, encoding: "utf8" })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".ts") || path.endsWith(".wgsl"))
  .filter((path) => !path.startsWith("build/"));

/** Names in different spellings are the same: bCol, b_col; and `from_`, since `from` is a reserved word of WGSL. */
const plain = (name: string): string => name.replaceAll("_", "").toLowerCase();

test("every declaration is in the index under its own name", async () => {
  const declaring = files.filter((path) => /\bdefineKernel\(\{/.test(read(new URL(path, root))));
  for (const file of declaring) {
    const exports = (await import(new URL(file, root).href)) as Record<string, unknown>;
    const found = Object.values(exports).filter(
      (value) => typeof value === "object" && value && "spec" in value,
    );
    assert.ok(found.length > 0, `${file} exports no kernel`);
    for (const kernel of found) {
      assert.ok(list.includes(kernel as AnyKernel), `kernels/index.ts lacks ${(kernel as AnyKernel).name}`);
    }
  }
  for (const [key, kernel] of Object.entries(kernels)) assert.is(kernel.name, key);
});

test("nothing in kernels/ imports Node's modules, or files above kernels/", () => {
  for (const file of files.filter((path) => path.endsWith(".ts"))) {
    for (const [, from = ""] of read(new URL(file, root)).matchAll(/(?:from|import)[\s(]*"([^"]+)"/g)) {
      assert.not(/^node:/.test(from), `${file} imports ${from}`);
      if (from.startsWith("."))
        assert.ok(new URL(from, new URL(file, root)).href.startsWith(root.href), `${file} imports ${from}`);
    }
  }
});

test("a constant is written once: what TypeScript and AssemblyScript share is in *.both.ts", () => {
  const declared = (matching: RegExp): string[] =>
    files
      .filter((path) => matching.test(path))
      .flatMap((path) =>
        [...read(new URL(path, root)).matchAll(/^(?:export )?const ([A-Z][A-Z\d_]+)\b/gm)].map(
          ([, name]) => `${path.split("/")[0]}/${name}`,
        ),
      );
  const assembly = new Set(declared(/\.as\.ts$/));
  assert.equal(
    declared(/(?<!\.as)\.ts$/).filter((name) => assembly.has(name)),
    [],
  );
});

test("every shader file is used", () => {
  const used = new Set<string>();
  for (const kernel of list)
    for (const { pass, weight } of plansOf(kernel)) {
      for (const file of new ShaderText(pass.source, weight).files) used.add(file);
    }
  for (const file of files.filter((path) => path.endsWith(".wgsl") && !path.startsWith("probe/")))
    assert.ok(used.has(file), `${file}: no case of any kernel leads to it`);
});

/** What WebAssembly is made of, without comments; exports share one namespace. */
const assembly = files
  .filter((path) => path.endsWith(".as.ts"))
  .map((path) => read(new URL(path, root)))
  .join("\n")
  .replace(/\/\/.*$/gm, "");

for (const kernel of list) {
  const { name, spec, slots, dimNames, paramNames } = kernel;

  test(`${name}: dimensions, parameters and defaults fit together`, () => {
    assert.equal(Object.keys(spec.defaults).sort(), [...paramNames].sort());
    assert.ok(spec.cases.length > 0, "a kernel has cases");
    for (const { dims, params = {} } of spec.cases) {
      assert.equal(Object.keys(dims).sort(), [...dimNames].sort());
      for (const param of Object.keys(params)) assert.ok(param in spec.params, `a case names ${param}`);
      const all = { ...spec.defaults, ...params } as Record<string, number>;
      checkCall(kernel, dims, all);
      const { flops, bytes } = spec.cost(dims, all, "f32");
      assert.ok(flops >= 0 && bytes >= 0 && Number.isFinite(flops + bytes), "cost is a number");
    }
    for (const dim of Object.keys(spec.random)) assert.ok(dimNames.includes(dim), `random names ${dim}`);
    for (const slot of Object.keys(spec.values ?? {})) {
      assert.ok(
        slots.some((s) => s.name === slot && s.role !== "output"),
        `values names ${slot}`,
      );
    }
  });

  test(`${name}: Params and bindings of its shaders`, () => {
    for (const plan of plansOf(kernel)) {
      const { pass, names, weight } = plan;
      const { text } = new ShaderText(pass.source, weight);
      const where = `${name}: ${pass.source}`;
      const code = text.replace(/\/\/.*$/gm, "");

      const struct = /\bstruct\s+Params\s*\{([^}]*)\}/.exec(code)?.[1];
      assert.ok(struct !== undefined, `${where}: struct Params is missing`);
      const fields = [...(struct ?? "").matchAll(/(\w+)\s*:\s*(\w+)/g)].map(([, field = "", type = ""]) => ({
        field,
        type,
      }));
      const wanted = [
        ...dimNames.map((dim) => ({ field: dim, type: "u32" })),
        ...paramNames.map((param) => ({ field: param, type: spec.params[param] })),
        ...Object.keys(pass.extra ?? {}).map((extra) => ({ field: extra, type: "u32" })),
      ];
      const spelled = fields.map(({ field, type }, i) => ({
        // a shader of several kernels whose dimensions come in different orders calls them dim0, dim1, …
        field: field === `dim${i}` && i < dimNames.length ? plain(at(dimNames, i)) : plain(field),
        type,
      }));
      assert.equal(
        spelled,
        wanted.map(({ field, type }) => ({ field: plain(field), type })),
        where,
      );
      assert.match(code, /@group\(0\)\s*@binding\(0\)\s*var<\s*uniform\s*>\s*\w+\s*:\s*Params\s*;/, where);

      const bindings = [
        ...code.matchAll(
          /@group\(0\)\s*@binding\((\d+)\)\s*var<\s*storage\s*(?:,\s*(\w+)\s*)?>\s*(\w+)\s*:\s*([\w<> ,]+);/g,
        ),
      ].map(([, binding, access = "read", variable = "", type = ""]) => ({
        binding: Number(binding),
        access,
        variable,
        type,
      }));
      bindings.sort((a, b) => a.binding - b.binding);
      assert.equal(
        bindings.map((b) => b.binding),
        names.map((_, i) => i + 1),
        `${where}: binding numbers`,
      );
      if (!pass.bindings)
        assert.equal(
          bindings.map((b) => b.variable),
          names,
          `${where}: names of the bindings`,
        );
      bindings.forEach(({ access, variable, type }, i) => {
        const slot = slots.find((s) => s.name === names[i]);
        if (!slot) return; // scratch
        if (slot.role === "input") assert.is(access, "read", `${where}: input ${slot.name}`);
        const whole = /^array<\s*(?:vec\d<?)?\s*([fiu])/.exec(type)?.[1];
        const asWeight = variable === "w"; // words, whatever the slot's dtype
        if (slot.dtype !== "weight" && !asWeight)
          assert.is(whole, slot.dtype[0], `${where}: ${slot.name} is ${type}`);
      });
    }
  });

  test(`${name}: parameter lists of its AssemblyScript exports`, () => {
    assert.ok(spec.cpu.length > 0, "a kernel runs on the CPU");
    for (const phase of spec.cpu) {
      const found = new RegExp(`export function ${phase.export}\\(([^)]*)\\): void`).exec(assembly)?.[1];
      assert.ok(found !== undefined, `no export function ${phase.export}(…): void`);
      const got = (found ?? "")
        .split(",")
        .map((p) => p.trim())
        .filter((p) => p !== "");
      const wanted = [
        ...slots.map((slot) => `${slot.name}: usize`),
        ...dimNames.map((dim) => `${dim}: i32`),
        ...paramNames.map((param) => `${param}: ${spec.params[param]}`),
        ...(kernel.weightSlot ? ["format: i32"] : []),
        ...(spec.cpuShared ? ["shared: usize"] : []),
        ...["begin: i32", "end: i32", "scratch: usize"],
      ];
      // u32 and i32 are one type at the boundary
      const plainType = (p: string): string => p.replace(/: u32$/, ": i32");
      assert.equal(got.map(plainType), wanted.map(plainType), phase.export);
    }
  });
}

test.run();
