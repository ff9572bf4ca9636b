/** The three products as plain loops in float64: c = beta·c + alpha·…, beta 0 or 1 (with 0, what c held does not count, NaN included). */

import { at } from "../base/at.ts";
import { addScaled, dot } from "../shared/float64.ts";

type Values = Float64Array;

/** c[i] = beta·c[i] + value */
function put(c: Values, i: number, value: number, beta: number): void {
  c[i] = (beta ? at(c, i) : 0) + value;
}

/** c[m, n] = Σ_k a[m, k] · w[n, k] */
export function nt(
  a: Values,
  w: Values,
  c: Values,
  M: number,
  N: number,
  K: number,
  alpha: number,
  beta: number,
) {
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      put(c, m * N + n, alpha * dot(a, m * K, w, n * K, K), beta);
    }
  }
}

/** c[m, k] = Σ_n a[m, n] · w[n, k] */
export function nn(
  a: Values,
  w: Values,
  c: Values,
  M: number,
  N: number,
  K: number,
  alpha: number,
  beta: number,
) {
  const row = new Float64Array(K);
  for (let m = 0; m < M; m++) {
    row.fill(0);
    for (let n = 0; n < N; n++) addScaled(row, 0, at(a, m * N + n), w, n * K, K);
    for (const [k, sum] of row.entries()) put(c, m * K + k, alpha * sum, beta);
  }
}

/** c[n, k] = Σ_m a[m, n] · b[m, k] */
export function tn(
  a: Values,
  b: Values,
  c: Values,
  M: number,
  N: number,
  K: number,
  alpha: number,
  beta: number,
) {
  const row = new Float64Array(K);
  for (let n = 0; n < N; n++) {
    row.fill(0);
    for (let m = 0; m < M; m++) addScaled(row, 0, at(a, m * N + n), b, m * K, K);
    for (const [k, sum] of row.entries()) put(c, n * K + k, alpha * sum, beta);
  }
}
