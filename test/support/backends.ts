/** The devices to test on: cpu, and webgpu where an adapter is. */
import { setFlagsFromString } from "node:v8";
import { openCpu } from "../../engine/backends/cpu/backend.ts";
import { builds } from "../../engine/backends/cpu/options.ts";
import type { Device } from "../../engine/device.ts";
import { noWebGpu } from "./skip.ts";

export interface TestDevice {
  readonly name: string;
  readonly device: Device;
}

/** One device of each kind: for tests of models and training. */
export async function openTestDevices(): Promise<TestDevice[]> {
  const cpu = { name: "cpu", device: await openCpu({ v8Flags: true, poison: true }) };
  const webgpu = await openTestWebGpu();
  return webgpu ? [cpu, webgpu] : [cpu];
}

/**
 * All builds on one thread and on two, in this order; `group` names what must give identical bits. V8's optimising compiler
 * takes over after the first calls, not after many: its code is what long runs execute, and what pairs vectors.
 */
export async function openTestCpus(): Promise<(TestDevice & { readonly group: string })[]> {
  setFlagsFromString("--wasm-tiering-budget=1");
  const devices: (TestDevice & { readonly group: string })[] = [];
  for (const build of builds) {
    for (const threads of [1, 2]) {
      const device = await openCpu({ build, threads, v8Flags: true, poison: true });
      devices.push({ name: `cpu ${build} × ${threads}`, group: build, device });
    }
  }
  return devices;
}

/** Undefined where test/run.ts found no adapter; an adapter that does not open is a failure. */
export async function openTestWebGpu(): Promise<TestDevice | undefined> {
  if (noWebGpu !== undefined) return undefined;
  const { openWebGpuDevice } = await import("../../engine/backends/webgpu/backend.ts");
  return { name: "webgpu", device: await openWebGpuDevice({ tuned: {} }) };
}
