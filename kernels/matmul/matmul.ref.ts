/** The three products as plain loops in float64: c = beta·c + alpha·…, beta 0 or 1 (with 0, what c held does not count, NaN included). */

type Values = Float64Array;

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
      let sum = 0;
      for (let k = 0; k < K; k++) sum += a[m * K + k] * w[n * K + k];
      c[m * N + n] = (beta ? c[m * N + n] : 0) + alpha * sum;
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
    for (let n = 0; n < N; n++) {
      const x = a[m * N + n];
      for (let k = 0; k < K; k++) row[k] = row[k] + x * w[n * K + k];
    }
    for (let k = 0; k < K; k++) c[m * K + k] = (beta ? c[m * K + k] : 0) + alpha * row[k];
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
    for (let m = 0; m < M; m++) {
      const x = a[m * N + n];
      for (let k = 0; k < K; k++) row[k] = row[k] + x * b[m * K + k];
    }
    for (let k = 0; k < K; k++) c[n * K + k] = (beta ? c[n * K + k] : 0) + alpha * row[k];
  }
}
