/**
 * What a declaration says is what its sources have: the Params struct and the bindings of each shader, the parameter
 * list of each AssemblyScript export; no file is left out; every shader compiles. Generated from kernels/index.ts.
 */
import { readdirSync } from "node:fs";
import { suite, test } from "uvu";
import * as assert from "uvu/assert";
import { openWebGpu } from "../engine/backends/webgpu/device.ts";
import { ShaderText, nodeSources } from "../engine/backends/webgpu/sources.ts";
import { kernels } from "../kernels/index.ts";
import { type AnyKernel, checkCall } from "../kernels/kernel.ts";
import { type Plan, plansOf } from "./support/plans.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const root = new URL("../kernels/", import.meta.url);
const list = Object.values<AnyKernel>(kernels);
const read = await nodeSources();

/** A shader declares `w: array<u32>` when it reads it through the functions of shared/weight_<dtype>.wgsl. */
const READS_WEIGHT = /\bw\s*:\s*array<u32>/;

/** The folders of kernels: those with a declaration. */
const folders = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !["base", "shared", "build"].includes(entry.name))
  .map((entry) => ({ name: entry.name, url: new URL(`${entry.name}/`, root) }))
  .filter(({ url }) => filesOf(url).some((file) => /\.ts$/.test(file) && !/\.as\.ts$/.test(file)));

function filesOf(folder: URL): string[] {
  return readdirSync(folder);
}

/** As the device puts it together: what is read as a weight's words gets the functions of its storage format. */
function shaderOf(kernel: AnyKernel, { pass, weight }: Plan): ShaderText {
  const source = read(new URL(pass.source, kernel.spec.folder));
  const before = READS_WEIGHT.test(source) ? [new URL(`shared/weight_${weight ?? "f32"}.wgsl`, root)] : [];
  return new ShaderText(read, new URL(pass.source, kernel.spec.folder), before);
}

/** Names in different spellings are the same: bCol, b_col; and `from_`, since `from` is a reserved word of WGSL. */
const plain = (name: string): string => name.replaceAll("_", "").toLowerCase();

test("every declaration is in the index under its own name", async () => {
  for (const { name, url } of folders) {
    const declarations = filesOf(url).filter(
      (f) => /\.ts$/.test(f) && /\bdefineKernel\(/.test(read(new URL(f, url))),
    );
    assert.ok(declarations.length > 0, `${name}: no defineKernel there`);
    for (const file of declarations) {
      const exports = (await import(new URL(file, url).href)) as Record<string, unknown>;
      const found = Object.values(exports).filter(
        (value) => typeof value === "object" && value && "spec" in value,
      );
      assert.ok(found.length > 0, `${name}/${file} exports no kernel`);
      for (const kernel of found) {
        assert.ok(list.includes(kernel as AnyKernel), `kernels/index.ts lacks ${(kernel as AnyKernel).name}`);
      }
    }
  }
  for (const [key, kernel] of Object.entries(kernels)) assert.is(kernel.name, key);
});

test("every shader file is used", () => {
  const used = new Set<string>();
  const use = (url: URL): void => {
    if (used.has(url.href)) return;
    used.add(url.href);
    for (const [, other] of read(url).matchAll(/^\/\/!use[ \t]+(\S+)/gm)) use(new URL(other, url));
  };
  for (const kernel of list) {
    for (const { pass } of plansOf(kernel)) use(new URL(pass.source, kernel.spec.folder));
  }
  for (const { name, url } of folders) {
    for (const file of filesOf(url).filter((f) => f.endsWith(".wgsl"))) {
      assert.ok(used.has(new URL(file, url).href), `${name}/${file}: no case of any kernel leads to it`);
    }
  }
});

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
      const { pass, names } = plan;
      const { text } = shaderOf(kernel, plan);
      const where = `${name}/${pass.source}`;
      const code = text.replace(/\/\/.*$/gm, "");

      const struct = /\bstruct\s+Params\s*\{([^}]*)\}/.exec(code)?.[1];
      assert.ok(struct !== undefined, `${where}: struct Params is missing`);
      const fields = [...(struct ?? "").matchAll(/(\w+)\s*:\s*(\w+)/g)].map(([, field, type]) => ({
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
        field: field === `dim${i}` && i < dimNames.length ? plain(dimNames[i]) : plain(field),
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
      ].map(([, binding, access = "read", variable, type]) => ({
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
    const sources = filesOf(spec.folder).filter((file) => file.endsWith(".as.ts"));
    const text = sources
      .map((file) => read(new URL(file, spec.folder)))
      .join("\n")
      .replace(/\/\/.*$/gm, "");
    assert.ok(spec.cpu.length > 0, "a kernel runs on the CPU");
    for (const phase of spec.cpu) {
      const found = new RegExp(`export function ${phase.export}\\(([^)]*)\\): void`).exec(text)?.[1];
      assert.ok(found !== undefined, `${sources.join(", ")}: no export function ${phase.export}(…): void`);
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

const shaders = suite("shaders");
unless(noWebGpu, shaders)("every shader compiles, with all overrides and storage formats", async () => {
  const { device, destroy } = await openWebGpu();
  const seen = new Set<string>();
  const features = new Set<string>(device.features);
  const compile = async (kernel: AnyKernel, plan: Plan): Promise<void> => {
    const { pass, weight } = plan;
    const shader = shaderOf(kernel, plan);
    const key = JSON.stringify([shader.text, pass.overrides]);
    if (seen.has(key)) return;
    seen.add(key);
    if (/^\s*enable\s+f16/m.test(shader.text) && !features.has("shader-f16")) return;
    if (/^\s*enable\s+subgroups/m.test(shader.text) && !features.has("subgroups")) return;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code: shader.text });
    const { messages } = await module.getCompilationInfo();
    const lines = messages.map((m) => `${shader.locate(m.lineNum)}: ${m.type}: ${m.message}`);
    assert.equal(lines, [], `${kernel.name} ${weight ?? ""}`);
    device.createComputePipeline({
      layout: "auto",
      compute: { module, entryPoint: "main", constants: { ...pass.overrides } },
    });
    const error = await device.popErrorScope();
    assert.is(error?.message, undefined, `${kernel.name}/${pass.source} ${JSON.stringify(pass.overrides)}`);
  };
  try {
    for (const kernel of list) for (const plan of plansOf(kernel)) await compile(kernel, plan);
  } finally {
    destroy();
  }
});
shaders.run();
