/** Rows in float64, for references: parts of arrays, from an offset. An element beyond the end is NaN. */

/** Σ a[i]·b[i] over `n` elements, added one after the other. */
export function dot(a: Float64Array, atA: number, b: Float64Array, atB: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += (a[atA + i] ?? NaN) * (b[atB + i] ?? NaN);
  return sum;
}

/** y += alpha · x over `n` elements. */
export function addScaled(
  y: Float64Array,
  atY: number,
  alpha: number,
  x: Float64Array,
  atX: number,
  n: number,
): void {
  for (let i = 0; i < n; i++) y[atY + i] = (y[atY + i] ?? NaN) + alpha * (x[atX + i] ?? NaN);
}
