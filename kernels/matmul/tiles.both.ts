/**
 * How the output [R, C] of a product is cut into the units that threads share. It depends on the sizes alone, so that
 * results do not depend on the thread count. Big tiles pack less (each element of A is packed once per column of
 * tiles, of B once per row of tiles); small ones share out better.
 */
import { WIDEN_SCRATCH } from "../formats/widen.both.ts";

const MAX_ROWS = 256;
const MAX_COLS = 128;
const MIN_TILE = 64;
const ENOUGH_UNITS = 12;

/** Rows of `a` or of `w` up to which `nt` is made of dot products (dot.as.ts), and their rows in one unit of it. */
export const SKINNY = 4;
export const DOT_ROWS = 32;

function cut(size: number, pieces: number, step: number): number {
  return Math.ceil(Math.ceil(size / pieces) / step) * step;
}

/** rows · 2¹⁶ + cols of a tile. */
export function tile(R: number, C: number): number {
  const step = C < 32 ? 8 : 32; // a block format is entered at multiples of 32
  let down = Math.ceil(R / MAX_ROWS);
  let across = Math.ceil(C / MAX_COLS);
  let rows = cut(R, down, 4);
  let cols = cut(C, across, step);
  while (Math.ceil(R / rows) * Math.ceil(C / cols) < ENOUGH_UNITS && (rows > MIN_TILE || cols > MIN_TILE)) {
    if (rows > MIN_TILE && (rows > cols || cols <= MIN_TILE)) rows = cut(R, ++down, 4);
    else cols = cut(C, ++across, step);
  }
  const units = Math.ceil(R / rows) * Math.ceil(C / cols);
  // an odd one among few keeps one of two threads waiting
  if (units % 2 === 1 && units < 2 * ENOUGH_UNITS && rows > MIN_TILE) rows = cut(R, down + 1, 4);
  return rows * 65536 + cols;
}

export function tileCount(R: number, C: number): number {
  if (R === 0 || C === 0) return 0;
  const size = tile(R, C);
  return Math.ceil(R / Math.floor(size / 65536)) * Math.ceil(C / (size % 65536));
}

/** How many units share the output of c[M, N] = a · wᵀ … */
export function dottedUnits(M: number, N: number): number {
  if (M === 0 || N === 0) return 0;
  if (M <= SKINNY) return Math.ceil(N / DOT_ROWS);
  if (N <= SKINNY) return Math.ceil(M / DOT_ROWS);
  return tileCount(M, N);
}

/**
 * … and how many are handed out at a time: pieces enough for any thread count, where there is work for many; else few,
 * because each piece prepares the short operand anew.
 */
export function dottedGrain(M: number, N: number): number {
  if (Math.min(M, N) > SKINNY) return 1;
  const units = Math.ceil(Math.max(M, N) / DOT_ROWS);
  return Math.ceil(units / (units > 128 ? 128 : 8));
}

/** Where rows of A lie across memory, a strip takes more of each line of it: the second-level cache must do. */
export const STRIP_ACROSS = 64;
/** Depth of a block: a strip of A and a panel of B fit the first-level cache, a tile's panels of B the second. */
export const DEPTH = 256;
/** Bytes between panels' ends and starts. */
export const GAP = 64;

// Scratch of one thread (gemm.as.ts), in bytes: a packed strip of A, packed B of one depth block, …
export const B_AT = (STRIP_ACROSS / 4) * (DEPTH * 16 + GAP);
/** … eight widened rows … */
export const ROWS_AT = B_AT + (MAX_COLS / 8) * (DEPTH * 32 + GAP);
/** … and one micro-tile of the output. */
export const TILE_AT = ROWS_AT + 8 * DEPTH * 4;
export const TILE_SCRATCH = TILE_AT + 256;

/**
 * Scratch of the dot products: up to four widened rows, and what widening takes; or a row's digits, which take less than 9 · K + 320
 * bytes (formats/dot_shorts.as.ts; K is 32 or more there).
 */
export function dotScratch(K: number): number {
  return 4 * SKINNY * K + WIDEN_SCRATCH;
}
