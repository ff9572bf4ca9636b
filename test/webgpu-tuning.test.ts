/** Every tile that tuning may choose computes the same product; and what a tuning file may and may not do. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import { tune } from "../bench/tune.ts";
import { readTuning, tuningFile, writeTuning } from "../engine/backends/webgpu/tuning.ts";
import type { WeightDType } from "../kernels/base/dtype.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import * as products from "../kernels/matmul/matmul.ts";
import { type ShapeClass, candidates, shapeClasses, tuningKey } from "../kernels/matmul/variants.ts";
import { openTestWebGpu } from "./support/backends.ts";
import { Conformance, type FullCase } from "./support/conformance.ts";
import { temporaryFolder } from "./support/model_files.ts";
import { planned } from "./support/plans.ts";
import { SEED } from "./support/rng.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const tests = suite("webgpu tuning");
const test = unless(noWebGpu, tests);
const opened = await openTestWebGpu();
const conformance = new Conformance();

type Work = readonly [keyof typeof products, number, number, number, WeightDType?];

/** Small products of each class: every layout, edges of tiles, split depths, compact weights, what no vec4 can read. */
const work: Readonly<Record<ShapeClass, readonly Work[]>> = {
  matvec: [
    ["matmul_nt", 1, 67, 160, "q4_1"],
    ["matmul_nt_acc", 3, 33, 37],
  ],
  thin: [
    ["matmul_nt", 133, 8, 272],
    ["matmul_tn", 260, 140, 4],
    ["matmul_tn", 257, 12, 136],
    ["matmul_nn", 9, 300, 64, "q8_0"],
  ],
  few: [
    ["matmul_nt", 70, 68, 288, "q4_0"],
    ["matmul_nn_acc", 65, 260, 96],
    ["matmul_tn", 131, 36, 72],
    ["matmul_tn", 33, 37, 41],
  ],
  many: [
    ["matmul_nt", 577, 708, 20],
    ["matmul_nn", 577, 20, 708],
    ["matmul_tn", 9, 580, 708],
  ],
};

function fullCase([name, M, N, K, weight = "f32"]: Work): FullCase {
  const kernel: AnyKernel = products[name];
  return { kernel, dims: { M, N, K }, params: { alpha: 0.5 }, weight, scale: 1, seed: SEED };
}

for (const shape of shapeClasses) {
  for (const software of [false, true]) {
    // Tiles of both families run on any adapter; those for subgroups of 8 only where there are such.
    const { subgroupSize } = (opened?.device.info.facts ?? {}) as { subgroupSize?: number };
    for (const name of candidates(shape, { software, ...(subgroupSize && { subgroupSize }) })) {
      test(`${shape}: ${name}${software ? " (software adapters)" : ""}`, async () => {
        if (!opened) return;
        const changes = { software, tuned: { [tuningKey(shape)]: name } };
        for (const one of work[shape]) {
          const full = fullCase(one);
          await conformance.check(`webgpu, ${name}`, opened.device, full, {
            plan: planned(full.kernel, changes),
            rounds: 1,
          });
        }
      });
    }
  }
}

const adapter = { vendor: "v", architecture: "a", device: "d", description: "driver 1" };
const gpu = { software: false };
const newFile = (): string => join(temporaryFolder(), "tune-webgpu.json");
/** The choices of a file, and the lines of warning about it. */
function read(path: string): { choices: object; lines: string[] } {
  const lines: string[] = [];
  return { choices: readTuning(path, adapter, gpu, (line) => lines.push(line)), lines };
}

tests("a tuning file gives each adapter its own choices, and keeps those of others", async () => {
  const path = join(temporaryFolder(), "new", "tune-webgpu.json");
  assert.equal(read(path), { choices: {}, lines: [] });
  await writeTuning(path, { ...adapter, description: "driver 2" }, { "matmul.matvec": "8" });
  assert.equal(read(path), { choices: {}, lines: [] });
  await writeTuning(path, adapter, { "matmul.many": "64x64v@96" });
  assert.equal(read(path), { choices: { "matmul.many": "64x64v@96" }, lines: [] });
  assert.equal(JSON.parse(readFileSync(path, "utf8")), {
    format: "templora tune-webgpu 1",
    adapters: {
      "v | a | d | driver 2": { "matmul.matvec": "8" },
      "v | a | d | driver 1": { "matmul.many": "64x64v@96" },
    },
  });
});

tests("a broken or foreign tuning file is ignored with one line, and can be replaced", async () => {
  const ours = (adapters: string): string => `{"format":"templora tune-webgpu 1","adapters":${adapters}}`;
  const wrong: readonly (readonly [text: string, why: string])[] = [
    ...["", "{", "\0"].map((text) => [text, "not valid JSON"] as const),
    ...["[]", "null", "7", '"text"', '{"format":"other","adapters":{}}', '{"adapters":{}}'].map(
      (text) => [text, 'not of the format "templora tune-webgpu 1"'] as const,
    ),
    ...["[]", "null", "7"].map((adapters) => [ours(adapters), "not of the format"] as const),
    ...['{"y":1}', '{"a":"b","y":1}', "null", "[]", '"text"', "7"].map(
      (choices) => [ours(`{"x":${choices}}`), "an adapter's choices must be names"] as const,
    ),
    [ours("{}").padEnd(2 ** 20 + 1), "not a tuning file"],
  ];
  const path = newFile();
  for (const [text, why] of wrong) {
    writeFileSync(path, text);
    const { choices, lines } = read(path);
    assert.equal(choices, {});
    assert.is(lines.length, 1, text.slice(0, 80));
    assert.ok(lines[0]?.includes(why), `${text.slice(0, 80)}: ${lines[0]}`);
    assert.match(
      lines[0] ?? "",
      /tune-webgpu\.json is ignored: not .*; delete it or run: templora bench tune$/,
    );
    await writeTuning(path, adapter, { "matmul.few": "32x32@96" });
    assert.equal(read(path), { choices: { "matmul.few": "32x32@96" }, lines: [] });
  }
  const folder = join(temporaryFolder(), "tune-webgpu.json");
  mkdirSync(folder);
  assert.match(read(folder).lines.join("\n"), /^[^\n]* is ignored: not a tuning file;[^\n]*$/);
  writeFileSync(path, ours("{}").padEnd(2 ** 20));
  assert.equal(read(path).lines, [], "just as long as allowed");
});

tests("choices that this version or adapter does not have are told of, the others hold", async () => {
  const path = newFile();
  await writeTuning(path, adapter, {
    "matmul.few": "32x32@96",
    "matmul.many": "subgroup8",
    "conv.few": "32x32@96",
    "conv.many": "x".repeat(100),
  });
  const { choices, lines } = read(path);
  assert.equal(choices, { "matmul.few": "32x32@96" });
  assert.is(lines.length, 1);
  assert.match(lines[0] ?? "", /has no matmul\.many=subgroup8, conv\.few=32x32@96, conv\.many=x{70};/);
  const printed: unknown[] = [];
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = (text: unknown) => printed.push(text) > 0;
  try {
    readTuning(path, adapter, gpu);
  } finally {
    process.stderr.write = write;
  }
  assert.equal(printed, [`templora: ${lines[0]}\n`]);
  assert.match(tuningFile(), /tune-webgpu\.json$/);
});

test("a device takes its adapter's choices when it opens, and says so", async () => {
  const facts = opened?.device.info.facts as Record<
    "vendor" | "architecture" | "device" | "description",
    string
  >;
  const before = process.env["TEMPLORA_CACHE"];
  process.env["TEMPLORA_CACHE"] = temporaryFolder();
  try {
    const software = opened?.device.info.software ?? false;
    const stored = { "matmul.many": software ? "registers" : "64x64v@96" };
    await writeTuning(tuningFile(), facts, stored);
    const tuned = await openWebGpuDevice();
    assert.equal(tuned.info.facts["tuned"], [`matmul.many=${stored["matmul.many"]}`]);
    await tuned.close();
    const plain = await openWebGpuDevice({ tuned: {} });
    assert.equal(plain.info.facts["tuned"], []);
    await plain.close();
  } finally {
    if (before === undefined) delete process.env["TEMPLORA_CACHE"];
    else process.env["TEMPLORA_CACHE"] = before;
  }
});

test("tuning measures every candidate, stores its choice and leaves the device as it was", async () => {
  const device = await openWebGpuDevice({ tuned: {}, profile: true });
  const path = join(temporaryFolder(), "tune-webgpu.json");
  const lines: string[] = [];
  const chosen = await tune(device, (line) => lines.push(line), {
    path,
    classes: ["matvec"],
    rounds: 1,
    sampleMs: 1,
  });
  const { software } = device.info;
  const subgroupSize = Number(device.info.facts["subgroupSize"]);
  for (const name of candidates("matvec", { software, subgroupSize }))
    assert.ok(lines[0]?.includes(name), lines[0]);
  assert.is(lines.at(-1), `stored in ${path}`);
  assert.equal(readTuning(path, device.adapter, { software, subgroupSize }), chosen);
  assert.is(device.stats().liveBuffers, 0);
  await device.close();
});

tests.after(() => opened?.device.close());
tests.run();
