/**
 * What the elementwise kernels share: how N elements are cut up. The same two numbers stand in
 * shared/elementwise.as.ts and in the shaders' `WG`.
 */
import { type CpuPhase, grid } from "../kernel.ts";

/** Elements of one unit of work on the CPU. */
export const UNIT = 1024;

/** The CPU phase of an elementwise kernel over N elements. */
export function elementwise(name: string): CpuPhase<{ readonly N: number }, unknown> {
  return { export: name, units: ({ N }) => Math.ceil(N / UNIT), grain: () => 8 };
}

/** Workgroups of 256 lanes for `threads` threads. */
export function lanes(threads: number): [number, number, number] {
  return grid(Math.ceil(threads / 256));
}
