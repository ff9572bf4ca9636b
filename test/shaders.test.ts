/**
 * Every shader with every value of its overrides that plans come to, as those read it who may disagree with the adapter at hand: Tint
 * on a device with no more than WebGPU's least limits, naga, and an interpreter (support/spirv) for which a barrier that is missing,
 * or an index out of bounds, is an error though the results be right. Planted faults prove that each of them sees its kind.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWebGpu } from "../engine/backends/webgpu/device.ts";
import { ShaderText } from "../engine/backends/webgpu/sources.ts";
import { wgsl } from "../kernels/build/wgsl.ts";
import { at } from "../kernels/base/at.ts";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import { CheckedGpu } from "./support/checked_gpu.ts";
import { Conformance, type FullCase, describeCase, listedCases } from "./support/conformance.ts";
import { openLeast } from "./support/least_gpu.ts";
import { type Plan, distinct, planned, reachable, workOf } from "./support/plans.ts";
import { check, translate, withOverrides } from "./support/shader_text.ts";
import { SEED, TestRandom } from "./support/rng.ts";
import { noWebGpu, unless } from "./support/skip.ts";
import { Program } from "./support/spirv/program.ts";

const test = suite("shaders");
const list = Object.values<AnyKernel>(kernels);
const plans = list.flatMap(reachable);

const textOf = ({ pass, weight }: Plan): string => new ShaderText(pass.source, weight).text;
const nameOf = ({ pass, weight }: Plan): string =>
  `${pass.source} ${JSON.stringify(pass.overrides ?? {})} ${weight ?? ""}`;
const enables = (text: string): string[] =>
  [...text.matchAll(/^\s*enable\s+(\w+)/gm)].map(([, name = ""]) => name);
const wanting = (plan: Plan): string[] => enables(textOf(plan));

/** Each shader's text with its constants, and a plan that comes to it. */
const shaders = distinct(plans, (plan) => JSON.stringify([textOf(plan), plan.pass.overrides]));
console.log(`${shaders.length} shaders, of ${new Set(plans.map(({ pass }) => pass.source)).size} files`);

test("no plan dispatches more workgroups along an axis than WebGPU allows, whatever the sizes", () => {
  for (const { pass, witness } of plans)
    for (const groups of pass.groups)
      assert.ok(groups <= 65535, `${describeCase(witness)}: ${pass.source} ${groups}`);
});

/** What Tint says of a shader and its pipeline; nothing where all is well. */
async function tint(
  device: GPUDevice,
  code: string,
  constants: Plan["pass"]["overrides"],
): Promise<string[]> {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const compute = { module, entryPoint: "main", constants: { ...constants } };
  device.createComputePipeline({ layout: "auto", compute });
  const error = await device.popErrorScope();
  const said = messages.map(({ lineNum, type, message }) => `line ${lineNum}: ${type}: ${message}`);
  return said.length > 0 || !error ? said : [error.message];
}

unless(noWebGpu, test)(
  "Tint takes every shader; those for any adapter, within WebGPU's least limits",
  async () => {
    const [least, own] = [await openLeast(), await openWebGpu()];
    try {
      for (const plan of shaders) {
        const wanted = wanting(plan);
        const able = wanted.every((name) =>
          own.device.features.has(name === "f16" ? "shader-f16" : (name as GPUFeatureName)),
        );
        if (!able) continue;
        const { device } = wanted.length > 0 ? own : least;
        assert.equal(await tint(device, textOf(plan), plan.pass.overrides), [], nameOf(plan));
      }
      const wrong = textOf(shaders[0] as Plan).replace(
        "fn main(",
        "fn wrong() -> u32 { return 1.5; }\nfn main(",
      );
      assert.match((await tint(least.device, wrong, {})).join(), /cannot convert|return statement type/);
      const large =
        "var<workgroup> x: array<vec4f, 1025>;\n@compute @workgroup_size(1) fn main() { x[0].x = 1.0; }";
      assert.match(
        (await tint(least.device, large, {})).join(),
        /workgroup storage/i,
        "1025 · 16 B > 16 KiB",
      );
    } finally {
      least.destroy();
      own.destroy();
    }
  },
);

test("naga takes every shader, and translates it for Vulkan, Direct3D and Metal", () => {
  for (const plan of shaders) {
    if (wanting(plan).length > 0) continue;
    const text = textOf(plan);
    try {
      check(text);
      translate(withOverrides(text, plan.pass.overrides));
    } catch (error) {
      throw new Error(`${nameOf(plan)}: ${(error as Error).message}`, { cause: error });
    }
  }
});

test("naga refuses what it does not have, and what is no WGSL", () => {
  const main = "@compute @workgroup_size(1) fn main() {}";
  for (const [text, why] of [
    [`enable subgroups;\n${main}`, /`subgroups` enable-extension is not yet supported/],
    [`fn wrong() -> u32 { return 1.5; }\n${main}`, /cannot convert/],
    [`${main}\nfn late() { let x = y; }`, /no definition in scope/],
  ] as const)
    assert.throws(() => check(text), why);
});

test("what wants an extension has a plan without it for adapters that lack it", () => {
  for (const { adapter, witness } of plans.filter((plan) => wanting(plan).length > 0)) {
    const { kernel, dims, params, weight } = witness;
    const { subgroupSize: _, tuned: __, ...poor } = adapter;
    for (const tuned of [adapter.tuned, {}])
      for (const pass of kernel.spec.webgpu(dims, params, { ...poor, weight, ...(tuned && { tuned }) }))
        assert.equal(enables(new ShaderText(pass.source, weight).text), [], describeCase(witness));
  }
});

/** What the interpreter finds in a shader of two workgroups of four lanes, and what `y` is then. */
function findingsOf(body: string, declared = ""): { findings: string[]; y: number[] } {
  const y = new Uint32Array(8);
  const findings = new Set<string>();
  const text = `@group(0) @binding(1) var<storage, read_write> y: array<u32>;
    var<workgroup> tile: array<u32, 4>;\n${declared}
    @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) lane: u32, @builtin(global_invocation_id) id: vec3u) {
      ${body}
    }`;
  new Program(translate(text).spirv).run(
    [2, 1, 1],
    new Map([[1, y]]),
    (finding) => findings.add(finding),
    false,
  );
  return { findings: [...findings], y: [...y] };
}

test("the interpreter finds each kind of what adapters may forgive", () => {
  const clean = "tile[lane] = id.x * 3u; workgroupBarrier(); y[id.x] = tile[3u - lane];";
  assert.equal(findingsOf(clean), { findings: [], y: [9, 6, 3, 0, 21, 18, 15, 12] });
  for (const [body, found] of [
    ["tile[lane] = id.x; y[id.x] = tile[3u - lane];", /tile: lane \d reads word \d, which lane \d wrote/],
    ["y[id.x] = tile[3u - lane]; tile[lane] = id.x;", /tile: lane \d writes word \d, which lane \d read/],
    ["tile[lane / 2u] = lane; y[id.x] = 1u;", /tile: lane 1 writes word 0, which lane 0 wrote/],
    [
      "y[id.x] = lane; workgroupBarrier(); y[id.x] = y[id.x ^ 1u];",
      /y: lane \d reads word \d, which lane \d wrote/,
    ],
    ["y[lane] = lane;", /y: workgroups 0 and 1 both touch word 0, and one writes/],
    ["y[id.x] = y[(id.x + 4u) % 8u];", /y: workgroup \d (writes|reads)|y: workgroups 0 and 1 both/],
    ["y[id.x + 1u] = lane;", /y is written at word 8 of 8/],
    ["y[id.x] = y[id.x + 7u];", /y is read at word 8 of 8/],
    ["tile[lane + 1u] = 1u; y[id.x] = 1u;", /tile: index 4 of 4/],
    ["y[id.x] = vec4u(lane)[lane + 1u];", /index 4 of 4/],
    ["var own = array<u32, 4>(); own[lane + 1u] = 1u; y[id.x] = own[lane];", /index 4 of 4/],
    ["var own = array<u32, 4>(); own[lane] = 1u; y[id.x] = own[lane + 1u];", /index 4 of 4/],
    [
      "if (lane < 2u) { workgroupBarrier(); } y[id.x] = 1u;",
      /a barrier that not every lane of the workgroup comes to \(2 of 4\)/,
    ],
  ] as const)
    assert.match(findingsOf(body).findings.join("\n"), found, body);
  const counted = "atomicAdd(&count, 1u); workgroupBarrier(); y[id.x] = atomicLoad(&count);";
  const atomic = findingsOf(counted, "var<workgroup> count: atomic<u32>;");
  assert.equal(atomic, { findings: [], y: new Array<number>(8).fill(4) });
});

/** Above it, the interpreter runs the first and the last workgroup of each dispatch alone. */
const MOST_WORK = 1.5e6;

const conformance = new Conformance();

/** What the interpreter finds where a case runs by an adapter's plan; throws where it computes something else than the reference. */
async function interpreted(full: FullCase, adapter: Plan["adapter"], values = true): Promise<string[]> {
  const gpu = new CheckedGpu();
  gpu.ends = workOf(full) > MOST_WORK;
  const plan = planned(full.kernel, adapter);
  await conformance.check("the interpreter", gpu.device, full, {
    plan,
    rounds: 1,
    values: values && !gpu.ends,
  });
  return [...gpu.findings];
}

test("the interpreter finds no race and no index out of bounds, and computes what the reference does", async () => {
  const chosen = [
    ...distinct(plans, ({ pass }) => JSON.stringify([pass.source, pass.overrides])),
    ...distinct(plans, ({ weight, witness }) => `${weight} ${witness.kernel.name === "embedding"}`),
  ];
  /** A run goes through all passes of its case's plan. */
  const runs = new Map(
    chosen.map((plan) => [JSON.stringify([describeCase(plan.witness), plan.adapter]), plan]),
  );
  const left = new Set<string>();
  for (const { witness, adapter } of runs.values()) {
    const { kernel, dims, params, weight } = witness;
    const texts = kernel.spec
      .webgpu(dims, params, { ...adapter, weight })
      .map(({ source }) => [source, new ShaderText(source, weight).text] as const);
    const unread = texts.filter(([, text]) => enables(text).length > 0);
    for (const [source, text] of unread) left.add(`${source} (${enables(text).join()})`);
    if (unread.length === 0) assert.equal(await interpreted(witness, adapter), [], describeCase(witness));
  }
  console.log(`not interpreted, since naga lacks the extension: ${[...left].join(", ")}`);
});

const BARRIER = "workgroupBarrier();";

for (const [file, text = ""] of Object.entries(wgsl)) {
  const pieces = text.split(BARRIER);
  const uses = ({ pass, weight }: Plan): boolean => new ShaderText(pass.source, weight).files.includes(file);
  const users = distinct(plans.filter(uses), ({ pass, witness }) => `${witness.kernel.name} ${pass.source}`);
  if (pieces.length < 2 || users.length === 0) continue;
  test(`${file} without one of its barriers: the interpreter says what clashes`, async () => {
    const nth = new TestRandom(SEED, file).below(pieces.length - 1);
    const changed = [
      ...pieces.slice(0, nth),
      at(pieces, nth) + at(pieces, nth + 1),
      ...pieces.slice(nth + 2),
    ];
    const line = pieces
      .slice(0, nth + 1)
      .join("")
      .split("\n").length;
    Object.assign(wgsl, { [file]: changed.join(BARRIER) });
    try {
      assert.ok(await anyFinding(users), `kernels/${file}:${line}: nothing is found without this barrier`);
    } finally {
      Object.assign(wgsl, { [file]: text });
    }
  });
}

/** Does the interpreter find something in a case of these plans' kernels that goes through their shaders? */
async function anyFinding(users: readonly Plan[]): Promise<boolean> {
  for (const { pass, adapter, witness } of users) {
    const { kernel } = witness;
    const cases = listedCases(kernel, SEED).filter(
      (full) =>
        ["f32", "q8_0"].includes(full.weight) &&
        workOf(full) < MOST_WORK &&
        kernel.spec
          .webgpu(full.dims, full.params, { ...adapter, weight: full.weight })
          .some(({ source }) => source === pass.source),
    );
    for (const full of [witness, ...cases.sort((a, b) => workOf(a) - workOf(b))])
      if ((await interpreted(full, adapter, false)).length > 0) return true;
  }
  return false;
}

test.run();
