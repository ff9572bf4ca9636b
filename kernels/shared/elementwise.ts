/**
 * What the elementwise kernels share: how N elements are cut up. The same two numbers stand in
 * shared/elementwise.as.ts and in the shaders' `WG`.
 */
import type { CpuPhase, PlanContext } from "../kernel.ts";

/** Elements of one unit of work on the CPU. */
export const UNIT = 1024;

/** The CPU phase of an elementwise kernel over N elements. */
export function elementwise(name: string): CpuPhase<{ readonly N: number }, unknown> {
  return { export: name, units: ({ N }) => Math.ceil(N / UNIT), grain: () => 8 };
}

/**
 * Workgroups of 256 lanes for `items` items, over which a shader's threads stride. A software adapter runs a workgroup on
 * one core and spends microseconds on starting it, so it gets few.
 */
export function lanes(items: number, { software }: Pick<PlanContext, "software">): [number, number, number] {
  return [Math.min(Math.max(Math.ceil(items / 256), 1), software ? 64 : 16384), 1, 1];
}
