/**
 * Every kernel on the webgpu device, generated from kernels/index.ts: the listed cases and random sizes, in every storage
 * format, against the float64 reference. On a software adapter the shaders meant for hardware run as well.
 */
import fc from "./support/fast_check.ts";
import { suite } from "uvu";
import { at } from "../kernels/base/at.ts";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel, WebGpuPass } from "../kernels/kernel.ts";
import { openTestWebGpu } from "./support/backends.ts";
import { Conformance, type FullCase, listedCases, randomCases } from "./support/conformance.ts";
import { record } from "./support/record.ts";
import { SEED, TestRandom } from "./support/rng.ts";
import { type Plan, adapters, distinct, planned, plansOfGpu, reachable } from "./support/plans.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const RANDOM_CASES = 8;
const tests = suite("kernels on webgpu");
const test = unless(noWebGpu, tests);
const opened = await openTestWebGpu();
const conformance = new Conformance();

function plansDiffer({ kernel, dims, params, weight }: FullCase): boolean {
  const plan = (software: boolean): readonly WebGpuPass[] =>
    kernel.spec.webgpu(dims, params, { ...at(adapters, 0), weight, software });
  return JSON.stringify(plan(true)) !== JSON.stringify(plan(false));
}

async function check(full: FullCase, hardwareToo = true): Promise<void> {
  if (!opened) return;
  const { name, device } = opened;
  await conformance.check(name, device, full);
  if (hardwareToo && device.info.software && plansDiffer(full)) {
    await conformance.check(`${name} (hardware plan)`, device, full, {
      plan: planned(full.kernel, { software: false }),
      rounds: 1,
    });
  }
}

for (const kernel of Object.values<AnyKernel>(kernels)) {
  test(`webgpu: ${kernel.name}, listed cases`, async () => {
    // The hardware plan, slow on software, takes every seventh (case, format): all formats in turn, of which there are 1, 3, 10 or 16
    const everyCase = kernel.weightSlot === undefined;
    for (const [i, full] of listedCases(kernel, SEED).entries()) await check(full, everyCase || i % 7 === 0);
  });
  const random = randomCases(kernel, SEED);
  if (!random) continue;
  test(`webgpu: ${kernel.name}, random sizes`, async () => {
    await fc.assert(
      fc.asyncProperty(random, (full) => check(full)),
      { numRuns: RANDOM_CASES },
    );
  });
}

/** Compiling one takes a software adapter seconds: the interpreter runs all of them (test/shaders.test.ts). */
const DRAWN = 8;

test(`webgpu: ${DRAWN} of the shaders and constants that only tuning, or other sizes than the cases', choose on GPUs`, async () => {
  if (!opened) return;
  const { name, device } = opened;
  const all = Object.values<AnyKernel>(kernels);
  const shader = ({ pass }: Plan): string => JSON.stringify([pass.source, pass.overrides]);
  const done = new Set(all.flatMap(plansOfGpu).map(shader));
  const rest = all.flatMap(reachable).filter((plan) => !plan.adapter.software && !done.has(shader(plan)));
  const drawn = distinct(rest, shader)
    .map((plan) => ({ plan, lot: new TestRandom(SEED, shader(plan)).below(2 ** 32) }))
    .sort((a, b) => a.lot - b.lot)
    .slice(0, DRAWN);
  for (const { plan } of drawn)
    await conformance.check(`${name}, ${shader(plan)}`, device, plan.witness, {
      plan: planned(plan.witness.kernel, plan.adapter),
      rounds: 1,
    });
});

tests.after(async () => {
  await opened?.device.close();
  console.log(`seed ${SEED}; largest share of the tolerance used, by kernel: ${conformance.shares}`);
  if (!opened) return;
  const device = opened.device.info.description;
  record("webgpu", { device, seed: SEED, kernels: Object.fromEntries(conformance.results) });
});

tests.run();
