/** What the elementwise kernels' declarations share: how N elements are cut into units and workgroups. */
import type { CpuPhase, PlanContext } from "../kernel.ts";
import { UNIT } from "./units.both.ts";

/** The CPU phase of an elementwise kernel over N elements. */
export function elementwise(name: string): CpuPhase<{ readonly N: number }, unknown> {
  return { export: name, units: ({ N }) => Math.ceil(N / UNIT), grain: () => 8 };
}

/**
 * Workgroups of 256 lanes (the shaders' `WG`) for `items` items, over which a shader's threads stride. A software adapter runs a workgroup on
 * one core and spends microseconds on starting it, so it gets few.
 */
export function lanes(items: number, { software }: Pick<PlanContext, "software">): [number, number, number] {
  return [Math.min(Math.max(Math.ceil(items / 256), 1), software ? 64 : 16384), 1, 1];
}
