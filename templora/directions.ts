/**
 * The directions that a matrix amplifies most: its first right singular vectors, by subspace iteration from a random start (Halko,
 * Martinsson & Tropp 2011, https://arxiv.org/abs/0909.4061, algorithm 4.4). Products with the matrix, which may be quantised, are the device's; rows
 * are made orthogonal, and the small eigenproblem is solved, on the host in float64.
 */
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { at } from "../kernels/base/at.ts";
import { matmul_nn, matmul_nt } from "../kernels/matmul/matmul.ts";

/** More rows than are wanted, so that those that are wanted are soon right. */
const MORE = 8;
const ITERATIONS = 4;
/** Below it, in times of what it was, a row has nothing of its own. */
const NOTHING = 1e-6;

/**
 * The first `count` right singular vectors of w [N, K], largest singular value first, of length 1; fewer where w has no more. `random`:
 * gives so many numbers, spread around 0, to begin with.
 */
export async function directions(
  task: Task,
  w: Tensor,
  count: number,
  random: (count: number) => Float64Array,
): Promise<Float64Array[]> {
  const [N, K] = [at(w.shape, 0), at(w.shape, 1)];
  const rows = Math.min(count + MORE, N, K);
  let x = orthonormal(split(random(rows * K), K));
  for (let i = 0; i < ITERATIONS && x.length > 0; i++) {
    using _scope = task.scope();
    const image = images(task, w, x);
    x = orthonormal(split(await task.run(matmul_nn, { a: image, w }, { alpha: 1 }).c.data(), K));
  }
  if (x.length === 0) return [];
  using _scope = task.scope();
  const image = split(await images(task, w, x).data(), N);
  const { vectors } = eigen(image.map((a) => image.map((b) => dot(a, b))));
  return orthonormal(vectors.map((v) => combined(v, x))).slice(0, count);
}

/** x·wᵀ [rows, N]. */
function images(task: Task, w: Tensor, x: readonly Float64Array[]): Tensor {
  const K = at(w.shape, 1);
  const flat = new Float32Array(x.length * K);
  x.forEach((row, i) => flat.set(row, i * K));
  return task.run(matmul_nt, { a: task.tensor(flat, [x.length, K]), w }, { alpha: 1 }).c;
}

function split(flat: Float32Array | Float64Array, width: number): Float64Array[] {
  const count = flat.length / width;
  return Array.from({ length: count }, (_, i) =>
    Float64Array.from(flat.subarray(i * width, (i + 1) * width)),
  );
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += at(a, i) * at(b, i);
  return sum;
}

/** Σ v[i] · rows[i] */
function combined(v: Float64Array, rows: readonly Float64Array[]): Float64Array {
  const sum = new Float64Array(at(rows, 0).length);
  rows.forEach((row, i) => add(sum, row, at(v, i)));
  return sum;
}

/** to += factor · row */
function add(to: Float64Array, row: Float64Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i] = at(to, i) + factor * at(row, i);
}

/** An orthonormal basis of what the rows span, each of the row and those before it: Gram and Schmidt, twice, for what rounding leaves. */
function orthonormal(rows: readonly Float64Array[]): Float64Array[] {
  const basis: Float64Array[] = [];
  const most = Math.sqrt(rows.reduce((most, row) => Math.max(most, dot(row, row)), 0));
  for (const row of rows) {
    const own = Float64Array.from(row);
    for (let pass = 0; pass < 2; pass++) for (const other of basis) add(own, other, -dot(own, other));
    const length = Math.sqrt(dot(own, own));
    if (length > NOTHING * most) basis.push(own.map((x) => x / length));
  }
  return basis;
}

/** Eigenvectors of a symmetric matrix, that of the largest eigenvalue first: Jacobi's rotations, which make one element after the other 0. */
export function eigen(symmetric: readonly (readonly number[])[]): { readonly vectors: Float64Array[] } {
  const n = symmetric.length;
  const a = symmetric.map((row) => Float64Array.from(row));
  const v = a.map((_, i) => Float64Array.from({ length: n }, (_, j) => Number(i === j)));
  const trace = a.reduce((sum, row, i) => sum + Math.abs(at(row, i)), 0);
  for (let sweep = 0; sweep < 30; sweep++) {
    let largest = 0;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const [rowP, rowQ] = [at(a, p), at(a, q)];
        const off = at(rowP, q);
        largest = Math.max(largest, Math.abs(off));
        if (Math.abs(off) <= 1e-14 * trace) continue;
        const ratio = (at(rowQ, q) - at(rowP, p)) / (2 * off);
        const t = (ratio < 0 ? -1 : 1) / (Math.abs(ratio) + Math.sqrt(1 + ratio * ratio));
        const c = 1 / Math.sqrt(1 + t * t);
        for (const row of a) turn(row, row, p, q, c, t * c); // columns
        for (let i = 0; i < n; i++) turn(rowP, rowQ, i, i, c, t * c);
        for (let i = 0; i < n; i++) turn(at(v, p), at(v, q), i, i, c, t * c);
      }
    if (largest <= 1e-12 * trace) break;
  }
  const order = a.map((row, i) => ({ i, value: at(row, i) })).sort((x, y) => y.value - x.value);
  return { vectors: order.map(({ i }) => at(v, i)) };
}

/** Turns the numbers x[i] and y[j] by an angle of cosine c and sine s. */
function turn(x: Float64Array, y: Float64Array, i: number, j: number, c: number, s: number): void {
  const [a, b] = [at(x, i), at(y, j)];
  x[i] = c * a - s * b;
  y[j] = s * a + c * b;
}
