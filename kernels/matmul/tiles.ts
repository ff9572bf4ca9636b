/**
 * How the output [R, C] of a product is cut into the units that threads share. It depends on the sizes alone, so that
 * results do not depend on the thread count. Big tiles pack less (each element of A is packed once per column of
 * tiles, of B once per row of tiles); small ones share out better. tiles.as.ts does the same arithmetic.
 */
const MAX_ROWS = 256;
const MAX_COLS = 128;
const MIN_TILE = 64;
const ENOUGH_UNITS = 12;

/** Rows of `a` or of `w` up to which `nt` is made of dot products (dot.as.ts), and their rows in one unit of it. */
const SKINNY = 4;
const DOT_ROWS = 32;

function cut(size: number, pieces: number, step: number): number {
  return Math.ceil(Math.ceil(size / pieces) / step) * step;
}

function tile(R: number, C: number): readonly [rows: number, cols: number] {
  const step = C < 32 ? 8 : 32; // a block format is entered at multiples of 32
  let down = Math.ceil(R / MAX_ROWS);
  let across = Math.ceil(C / MAX_COLS);
  let rows = cut(R, down, 4);
  let cols = cut(C, across, step);
  while (Math.ceil(R / rows) * Math.ceil(C / cols) < ENOUGH_UNITS && (rows > MIN_TILE || cols > MIN_TILE)) {
    if (rows > MIN_TILE && (rows > cols || cols <= MIN_TILE)) rows = cut(R, ++down, 4);
    else cols = cut(C, ++across, step);
  }
  return [rows, cols];
}

export function tileCount(R: number, C: number): number {
  if (R === 0 || C === 0) return 0;
  const [rows, cols] = tile(R, C);
  return Math.ceil(R / rows) * Math.ceil(C / cols);
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

/** Scratch of one thread (gemm.as.ts): a strip of A, packed B of one depth block, eight widened rows, one micro-tile. */
const STRIP_ACROSS = 64;
const DEPTH = 256;
const GAP = 64;
export const TILE_SCRATCH =
  (STRIP_ACROSS / 4) * (DEPTH * 16 + GAP) + (MAX_COLS / 8) * (DEPTH * 32 + GAP) + 8 * DEPTH * 4 + 256;

/** Scratch of the dot products: up to four widened rows. */
export function dotScratch(K: number): number {
  return 4 * SKINNY * K;
}
