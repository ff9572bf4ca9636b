/**
 * The tiles that compute a matrix product on WebGPU, and which of them a product gets: by the class of its shape, the
 * choice that was measured on this adapter (`tuned`, see bench/tune.ts), else a safe default. Choices change the speed
 * and, because sums are split differently, the last bits of results; nothing else.
 */
import { at, entry } from "../base/at.ts";
import type { PlanContext } from "../kernel.ts";

/** matvec: decoding; thin: a side of at most 32 (a small LoRA rank); few: too few tiles to fill a GPU; many: the rest. */
export const shapeClasses = ["matvec", "thin", "few", "many"] as const;
export type ShapeClass = (typeof shapeClasses)[number];

interface Size {
  readonly rows: number;
  readonly cols: number;
  readonly depth: number;
}

/** A tile of c and the shader that computes it. */
export interface Tile {
  readonly source: string;
  /** Rows and columns of c that a workgroup computes. */
  readonly rows: number;
  readonly cols: number;
  /** Override constants of the shader. */
  readonly overrides: Readonly<Record<string, number>>;
  /** The depth is split until there are so many workgroups. */
  readonly groups: number;
  /** Reads and writes vec4s: every stride and c's columns are multiples of 4. */
  readonly vec4?: boolean;
}

/** 4 × 4 outputs for each of `side` × `side` threads. */
const square = (side: number) => ({
  source: "matmul/tile_hardware.wgsl",
  rows: 4 * side,
  cols: 4 * side,
  overrides: { SIDE: side },
});

/** 8 × 8 outputs for each of x × y threads, `step` of the depth at a time. */
const wide = (x: number, y: number, step: number) => ({
  source: "matmul/tile_hardware_vec4.wgsl",
  rows: 8 * y,
  cols: 8 * x,
  overrides: { X: x, Y: y, STEP: step },
  vec4: true,
});

const plain = { "64x64": square(16), "32x32": square(8), "64x64v": wide(8, 8, 16) };
const hardware: Readonly<Record<Exclude<ShapeClass, "matvec">, Readonly<Record<string, Tile>>>> = {
  many: withGroups({ ...plain, "128x128v": wide(16, 16, 8) }, [96]),
  few: withGroups(plain, [96, 384]),
  thin: withGroups({ ...plain, "128x32v": wide(4, 16, 8), "32x128v": wide(16, 4, 8) }, [96, 384]),
};

/** "64x64@96": each tile with each number of workgroups to aim at. */
function withGroups(tiles: Readonly<Record<string, Omit<Tile, "groups">>>, aims: readonly number[]) {
  return Object.fromEntries(
    Object.entries(tiles).flatMap(([name, tile]) =>
      aims.map((groups) => [`${name}@${groups}`, { ...tile, groups }] as const),
    ),
  );
}

/** For adapters that compute on the CPU: everything in registers. */
const software: Readonly<Record<string, Tile>> = {
  subgroup8: { source: "matmul/tile_subgroup8.wgsl", rows: 16, cols: 64, overrides: {}, groups: 1 },
  registers: { source: "matmul/tile_software.wgsl", rows: 8, cols: 128, overrides: {}, groups: 1 },
};
const DEFAULT_TILE = "64x64@96";

/** Threads that share a column of `matvec_hardware.wgsl`. */
const matvecLanes = ["16", "8", "32", "64"];

/** The names to choose from on an adapter; the first is the default. */
export function candidates(
  shape: ShapeClass,
  { software: onCpu, subgroupSize }: Pick<PlanContext, "software" | "subgroupSize">,
): readonly string[] {
  if (onCpu) return subgroupSize === 8 ? ["subgroup8", "registers"] : ["registers"];
  return shape === "matvec" ? matvecLanes : Object.keys(hardware[shape]);
}

/** Is it a name that `tuned` may hold on this adapter? */
export function isChoice(
  key: string,
  name: string,
  adapter: Pick<PlanContext, "software" | "subgroupSize">,
): boolean {
  const shape = shapeClasses.find((known) => tuningKey(known) === key);
  return shape !== undefined && candidates(shape, adapter).includes(name);
}

export const tuningKey = (shape: ShapeClass): string => `matmul.${shape}`;

/** The measured choice, if there is one that this adapter has; else the default. */
export function choice(shape: ShapeClass, context: PlanContext): string {
  const names = candidates(shape, context);
  const name = context.tuned?.[tuningKey(shape)];
  return name !== undefined && names.includes(name) ? name : at(names, 0);
}

export function classOf({ rows, cols }: Size): Exclude<ShapeClass, "matvec"> {
  if (Math.min(rows, cols) <= 32) return "thin";
  return Math.ceil(rows / 64) * Math.ceil(cols / 64) < 96 ? "few" : "many";
}

/** The tile of a product; `aligned`: it can be read and written in vec4s. */
export function tileOf(size: Size, aligned: boolean, context: PlanContext): Tile {
  const shape = classOf(size);
  const name = choice(shape, context);
  const tiles = context.software ? software : hardware[shape];
  const tile = entry(tiles, name);
  return tile.vec4 === true && !aligned ? entry(tiles, DEFAULT_TILE) : tile;
}

/** The longest sum in one chain; longer ones are split, so that rounding errors do not grow with the depth. */
const CHAIN = 4096;

/** How much of the depth one slice of workgroups sums: a multiple of 16, at least 128 unless the depth is less. */
export function depthStep({ rows, cols, depth }: Size, tile: Tile): number {
  const tiles = Math.ceil(rows / tile.rows) * Math.ceil(cols / tile.cols);
  const wanted = Math.max(1, Math.min(Math.floor(depth / 128), Math.floor(tile.groups / tiles)));
  const splits = Math.max(wanted, Math.ceil(depth / CHAIN));
  return Math.ceil(depth / splits / 16) * 16;
}
