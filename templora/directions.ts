/**
 * The directions that a matrix amplifies most: nearly the space of its first right singular vectors, by subspace iteration from a random
 * start (Halko, Martinsson & Tropp 2011, https://arxiv.org/abs/0909.4061, algorithm 4.4). Products with the matrix, which may be quantised, are
 * the device's; rows are made orthogonal on the host, in float64.
 */
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { at } from "../kernels/base/at.ts";
import { matmul_nn, matmul_nt } from "../kernels/matmul/matmul.ts";

/** The flatter the singular values, the more are needed: of matrices of random numbers these find 94 % and more of what the best directions hold. */
const ITERATIONS = 10;
/** Below it, in times of the longest, a row has nothing of its own. */
const NOTHING = 1e-6;

/**
 * `count` orthonormal rows [K] for w [N, K], the one that is amplified most first where that is clear; fewer where w has no more. `random`:
 * gives so many numbers, spread around 0, to begin with.
 */
export async function directions(
  task: Task,
  w: Tensor,
  count: number,
  random: (count: number) => Float64Array,
): Promise<Float64Array[]> {
  const [N, K] = [at(w.shape, 0), at(w.shape, 1)];
  let x = orthonormal(split(random(Math.min(count, N, K) * K), K));
  for (let i = 0; i < ITERATIONS && x.length > 0; i++) {
    using _scope = task.scope();
    const flat = new Float32Array(x.length * K);
    for (const [r, row] of x.entries()) flat.set(row, r * K);
    const image = task.run(matmul_nt, { a: task.tensor(flat, [x.length, K]), w }, { alpha: 1 }).c;
    x = orthonormal(split(await task.run(matmul_nn, { a: image, w }, { alpha: 1 }).c.data(), K));
  }
  return orthonormal(x); // once more, for what rounding has left
}

function split(flat: Float32Array | Float64Array, width: number): Float64Array[] {
  const rows = Array.from({ length: flat.length / width }, (_, i) => i * width);
  return rows.map((from) => Float64Array.from(flat.subarray(from, from + width)));
}

/** Of each row what those before it have not, 1 long: Gram and Schmidt. Rows that have nothing are left out. */
function orthonormal(rows: readonly Float64Array[]): Float64Array[] {
  const basis: Float64Array[] = [];
  const longest = Math.sqrt(rows.reduce((most, row) => Math.max(most, dot(row, row)), 0));
  for (const row of rows) {
    const own = Float64Array.from(row);
    for (const other of basis) {
      const shared = dot(own, other);
      for (let i = 0; i < own.length; i++) own[i] = (own[i] ?? 0) - shared * (other[i] ?? 0);
    }
    const length = Math.sqrt(dot(own, own));
    if (length > NOTHING * longest) basis.push(own.map((x) => x / length));
  }
  return basis;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}
