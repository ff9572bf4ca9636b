/** What test/subgroups.test.ts runs in a process per width: the smallest cases of shaders whose lanes work together, on this adapter. */
import { ShaderText } from "../../engine/backends/webgpu/sources.ts";
import { kernels } from "../../kernels/index.ts";
import type { AnyKernel } from "../../kernels/kernel.ts";
import { openTestWebGpu } from "./backends.ts";
import { Conformance } from "./conformance.ts";
import { type Plan, distinct, planned, plansOf } from "./plans.ts";

export interface WidthReport {
  readonly subgroupSize: unknown;
  /** Files of the shaders that ran. */
  readonly sources: readonly string[];
  readonly failures: readonly string[];
}

const opened = await openTestWebGpu();
if (!opened) throw new Error("no WebGPU adapter");
await using device = opened.device;
const { subgroupSize } = device.info.facts;

const together = ({ pass, weight, adapter }: Plan): boolean =>
  /var<workgroup>|^enable subgroups/m.test(new ShaderText(pass.source, weight).text) &&
  (!adapter.software || adapter.subgroupSize === subgroupSize);
const plans = distinct(
  Object.values<AnyKernel>(kernels).flatMap(plansOf).filter(together),
  ({ pass, witness }) => `${pass.source} ${witness.kernel.name}`,
);
const conformance = new Conformance();
const sources = new Set<string>();
const failures: string[] = [];
for (const { pass, adapter, witness } of plans) {
  sources.add(pass.source);
  await conformance
    .check(`subgroups of ${String(subgroupSize)}`, device, witness, {
      plan: planned(witness.kernel, adapter),
    })
    .catch((error: unknown) => failures.push(String(error)));
}
console.log(JSON.stringify({ subgroupSize, sources: [...sources], failures } satisfies WidthReport));
