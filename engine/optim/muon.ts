/**
 * Muon: the momentum of a matrix, its singular values brought near 1, is the step. Jordan et al. 2024,
 * https://kellerjordan.github.io/posts/muon/, with Nesterov's momentum; rates as Liu et al. 2025, https://arxiv.org/abs/2502.16982, eq. 4,
 * have them, so that a step is about as long as AdamW's with the same rate. As torch.optim.Muon with match_rms_adamw, but in f32.
 */
import { at } from "../../kernels/base/at.ts";
import { accumulate } from "../../kernels/add/add.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { matmul_nn, matmul_nt, matmul_tn } from "../../kernels/matmul/matmul.ts";
import { momentum } from "../../kernels/momentum/momentum.ts";
import { rms_norm } from "../../kernels/rms_norm/rms_norm.ts";
import { BadInputError } from "../errors.ts";
import type { Parameters } from "../parameters.ts";
import type { Task } from "../task.ts";
import type { Tensor } from "../tensor.ts";
import { Optimizer, type OptimizerRun } from "./optimizer.ts";
import type { SGDOptions } from "./sgd.ts";

/** x ↦ a·x + b·x³ + c·x⁵, five times over, brings singular values of 0.01 to 1 to between 0.7 and 1.2 (Jordan et al.). */
const [A, B, C] = [3.4445, -4.775, 2.0315];
const ITERATIONS = 5;
/** Below it a matrix counts as zero: the mean of its elements' squares. */
const LEAST = 1e-30;
/** The root of the mean of the squares of a step of AdamW's, in times of its rate (Liu et al.). */
const RMS = 0.2;

export class Muon extends Optimizer {
  readonly #options: SGDOptions;

  /** As SGD's; throws BadInputError for a parameter that is no matrix, too. */
  constructor(task: Task, parameters: Parameters, given: Partial<SGDOptions> = {}) {
    const options = { momentum: 0.95, weight_decay: 0, clip: 0, ...given };
    const vector = parameters.specs.find(({ shape }) => shape.length !== 2);
    if (vector) throw new BadInputError(`Muon: ${vector.name} is no matrix`);
    const sensible = { momentum: options.momentum >= 0 && options.momentum < 1 };
    super(task, parameters, options, { name: "Muon", secondMoment: false, sensible });
    this.#options = options;
  }

  protected override update(run: OptimizerRun, norm2: Tensor, lr: number): void {
    const { values: p, gradients: g, m, skipped } = run;
    const { momentum: beta, weight_decay, clip } = this.#options;
    const { task } = this;
    const params = { decay: lr * weight_decay, beta, own: 1, kept: beta, clip };
    const { u } = task.run(momentum, { g, norm2, p, m, skipped }, params);
    const identities = new Map<number, Tensor>(); // by size
    for (const { start, shape } of run.parameters) {
      const [rows, columns] = [at(shape, 0), at(shape, 1)];
      const r = Math.min(rows, columns);
      const one = identities.get(r) ?? identity(task, r);
      identities.set(r, one);
      using _scope = task.scope();
      const size = [rows * columns];
      const x = orthogonal(task, task.alias(u, [rows, columns], start), one);
      const y = task.alias(p, size, start);
      task.run(
        accumulate,
        { x: task.alias(x, size), y },
        { alpha: -lr * RMS * Math.sqrt(Math.max(rows, columns)) },
      );
    }
  }
}

/** [r · r] */
const identity = (task: Task, r: number): Tensor =>
  task.tensor(
    Float32Array.from({ length: r * r }, (_, i) => Number(i % (r + 1) === 0)),
    [r * r],
  );

/**
 * x [R, C] with the same singular vectors, and singular values near 1 where they are not far below the largest; zero stays zero. The
 * polynomials are taken of the smaller of x·xᵀ and xᵀ·x, and applied once.
 */
export function orthogonal(task: Task, x: Tensor, one = identity(task, Math.min(...x.shape))): Tensor {
  const [rows, columns] = [at(x.shape, 0), at(x.shape, 1)];
  const [r, size] = [Math.min(rows, columns), rows * columns];
  const wide = r === rows;
  const square = (t: Tensor): Tensor => task.alias(t, [r, r]);
  const flat = (t: Tensor): Tensor => task.alias(t, [t.length]);
  const times = (a: Tensor, b: Tensor, alpha = 1): Tensor =>
    task.run(matmul_nt, { a: square(a), w: square(b) }, { alpha }).c;
  const ones = task.run(fill, {}, { value: 1 }, { into: { y: task.empty([size]) } }).y;
  const row = { x: task.alias(x, [1, size]), g: ones };
  const unit = task.alias(task.run(rms_norm, row, { eps: LEAST }).y, [rows, columns]); // norm √size
  const alpha = 1 / size;
  let gram = wide
    ? task.run(matmul_nt, { a: unit, w: unit }, { alpha }).c
    : task.run(matmul_tn, { a: unit, b: unit }, { alpha }).c;
  // Symmetric polynomials of one matrix: their products are, too, and may stand in any order
  let product: Tensor | null = null;
  for (let i = 0; i < ITERATIONS; i++) {
    const q = times(gram, gram, C);
    task.run(accumulate, { x: flat(gram), y: flat(q) }, { alpha: B });
    task.run(accumulate, { x: one, y: flat(q) }, { alpha: A });
    product = product ? times(q, product) : q;
    if (i < ITERATIONS - 1) gram = times(times(q, gram), q);
  }
  const whole = square(product ?? one);
  return wide
    ? task.run(matmul_nn, { a: whole, w: unit }, { alpha: 1 / Math.sqrt(size) }).c
    : task.run(matmul_nn, { a: unit, w: whole }, { alpha: 1 / Math.sqrt(size) }).c;
}
