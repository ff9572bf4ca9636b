/** How the output is cut into tiles: the same arithmetic as `tile` in tiles.ts, which says why. */

const MAX_ROWS = 256;
export const MAX_COLS = 128;
const MIN_TILE = 64;
const ENOUGH_UNITS = 12;

// @ts-ignore: decorator
@inline
function cut(size: i32, pieces: i32, step: i32): i32 {
  return ((size + pieces - 1) / pieces + step - 1) / step * step;
}

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}

/** rows << 16 | cols of a tile. */
export function tile(R: i32, C: i32): i32 {
  const step = C < 32 ? 8 : 32;
  let down = ceilDiv(R, MAX_ROWS);
  let across = ceilDiv(C, MAX_COLS);
  let rows = cut(R, down, 4);
  let cols = cut(C, across, step);
  while (ceilDiv(R, rows) * ceilDiv(C, cols) < ENOUGH_UNITS && (rows > MIN_TILE || cols > MIN_TILE)) {
    if (rows > MIN_TILE && (rows > cols || cols <= MIN_TILE)) rows = cut(R, ++down, 4);
    else cols = cut(C, ++across, step);
  }
  return (rows << 16) | cols;
}
