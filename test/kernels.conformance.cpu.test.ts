/**
 * Every kernel on the cpu device, generated from kernels/index.ts: the listed cases and random sizes, in every storage
 * format, against the float64 reference; both builds, and the same bits on one thread and on two.
 */
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import { openTestCpus } from "./support/backends.ts";
import {
  Conformance,
  type FullCase,
  describeCase,
  listedCases,
  randomCases,
  sameBits,
} from "./support/conformance.ts";
import { record } from "./support/record.ts";
import { SEED } from "./support/rng.ts";

const RANDOM_CASES = 20;
const devices = await openTestCpus();
const conformance = new Conformance();

async function checkAll(full: FullCase): Promise<void> {
  const byGroup = new Map<string, ReadonlyMap<string, Uint8Array>>();
  for (const { name, device, group } of devices) {
    // the first device of a group runs once: the later ones, which run twice, must give the same bits
    const results = await conformance.check(name, device, full, { rounds: byGroup.has(group) ? 2 : 1 });
    const other = byGroup.get(group);
    if (!other) byGroup.set(group, results);
    for (const [slot, bytes] of other ?? []) {
      sameBits(
        `${describeCase(full)}: ${slot}`,
        "on two threads",
        bytes,
        results.get(slot) ?? new Uint8Array(),
      );
    }
  }
}

for (const kernel of Object.values<AnyKernel>(kernels)) {
  test(`cpu: ${kernel.name}, listed cases`, async () => {
    for (const full of listedCases(kernel, SEED)) await checkAll(full);
  });
  const random = randomCases(kernel, SEED);
  if (!random) continue;
  test(`cpu: ${kernel.name}, random sizes`, async () => {
    await fc.assert(fc.asyncProperty(random, checkAll), { numRuns: RANDOM_CASES });
  });
}

test.after(async () => {
  await Promise.all(devices.map(({ device }) => device.close()));
  console.log(`seed ${SEED}; largest share of the tolerance used, by kernel: ${conformance.shares}`);
  record("cpu", {
    device: devices.map(({ name }) => name).join(", "),
    seed: SEED,
    kernels: Object.fromEntries(conformance.results),
  });
});

test.run();
