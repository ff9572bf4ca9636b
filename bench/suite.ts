/** What a suite of benchmarks is given, and what it returns. */
import type { Device, DeviceKind } from "../engine/device.ts";
import type { DeviceChoice } from "../engine/backends/open.ts";
import type { Recipe } from "../templora/config.ts";
import { type Timing, find, median } from "./harness.ts";

export interface BenchOptions {
  readonly device: DeviceChoice;
  readonly threads?: number;
  /** A model's folder, .gguf file or name. */
  readonly model: string;
  readonly quick: boolean;
  /** Measure only kernels with this in their name; "" = all. */
  readonly only: string;
  readonly seed: number;
  readonly chunk: number;
  readonly window: number;
  readonly recipe: Recipe;
  /** How many of the first layers compute their activations again in the backward. */
  readonly checkpointLayers: number;
  /** After how many updates keys and values of a constant context still serve. */
  readonly reuseCache: number;
}

/** A device that measures the time of each kernel. */
export interface ProfilingDevice extends Device {
  profile(): Promise<ReadonlyMap<string, { readonly ms: number; readonly calls: number }>>;
}

export interface Bench {
  readonly options: BenchOptions;
  /** Opens the chosen device; the suite closes it. */
  open(): Promise<Device>;
  /** Shows what share of the suite is done, from 0 to 1; throws when the user wants to stop. */
  progress(label: string, fraction: number): void;
  note(line: string): void;
}

/** The device's highest rates, measured in the same run. */
export interface Limits {
  readonly fma_gflops: number;
  readonly copy_gbps: number;
}

export interface Row extends Timing {
  /** Shares of the limits. The roofline is the time that arithmetic or memory, whichever needs more, takes at its limit. */
  readonly fma_percent?: number;
  readonly copy_percent?: number;
  readonly roofline_percent?: number;
  readonly [fact: string]: unknown;
}

export interface Result {
  readonly rows: readonly Row[];
  /** Figures of the whole suite. */
  readonly facts: Readonly<Record<string, unknown>>;
}

export type Suite = (bench: Bench) => Promise<Result>;

export const DEFAULT_MODEL = "smollm2-135m";

export function limitsOf(timings: readonly Timing[]): Limits {
  return {
    fma_gflops: find(timings, "limit: fma").gflops ?? NaN,
    copy_gbps: find(timings, "limit: copy").gbps ?? NaN,
  };
}

/** A timing with its shares of the limits. */
export function against(timing: Timing, limits: Limits): Row {
  const { gflops = 0, gbps = 0 } = timing;
  const fma = (100 * gflops) / limits.fma_gflops;
  const copy = (100 * gbps) / limits.copy_gbps;
  return {
    ...timing,
    ...(gflops > 0 && { fma_percent: fma }),
    ...(gbps > 0 && { copy_percent: copy }),
    ...((gflops > 0 || gbps > 0) && { roofline_percent: Math.max(fma, copy) }),
  };
}

/** What every record says of the device. */
export function deviceFacts({ info }: Device): Readonly<Record<string, unknown>> {
  const { kind, description, software, facts } = info;
  return { device: kind, adapter_info: { description, software, ...facts } };
}

/** A device of that kind that times its kernels. */
export async function openProfiling(kind: DeviceKind, threads?: number): Promise<ProfilingDevice> {
  if (kind === "webgpu") {
    const { openWebGpuDevice } = await import("../engine/backends/webgpu/backend.ts");
    return openWebGpuDevice({ profile: true });
  }
  const { openCpu } = await import("../engine/backends/cpu/backend.ts");
  return openCpu({ profile: true, v8Flags: true, threads });
}

/** The medians of limits measured several times. */
export function medians(all: readonly Limits[]): Limits {
  return {
    fma_gflops: median(all.map((one) => one.fma_gflops)),
    copy_gbps: median(all.map((one) => one.copy_gbps)),
  };
}
