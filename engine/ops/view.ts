/** Another shape over the same memory, runs of rows, and rows written into a lasting buffer. */
import { at } from "../../kernels/base/at.ts";
import { copy } from "../../kernels/copy/copy.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { elements } from "../../kernels/base/shape.ts";
import { ShapeError } from "../errors.ts";
import { defineOp } from "../op.ts";

/** The same elements under another shape; no work is done. */
export const reshape = defineOp({
  name: "reshape",
  inputs: ["x"],
  differentiable: ["x"],
  forward: (task, { x }, { shape }: { readonly shape: readonly number[] }) => {
    if (elements(shape) !== x.length)
      throw new ShapeError("reshape", `[${x.shape.join(", ")}] does not become [${shape.join(", ")}]`);
    return { output: task.alias(x, shape), saved: {} };
  },
  vjp: (_task, dy) => ({ x: dy }),
  checks: [{ inputs: { x: [2, 6] }, attributes: { shape: [2, 2, 3] } }],
});

/** Rows [from, to) of x [T, …], copied; the others get a zero gradient. `to` is T when left out. */
export const rows = defineOp({
  name: "rows",
  inputs: ["x"],
  differentiable: ["x"],
  forward: (task, { x }, { from, to = at(x.shape, 0) }: { readonly from: number; readonly to?: number }) => {
    const [T = 0, ...rest] = x.shape;
    if (!(from >= 0 && from <= to && to <= T) || !Number.isInteger(from) || !Number.isInteger(to))
      throw new ShapeError("rows", `[${from}, ${to}) of ${T} rows`);
    const y = task.empty([to - from, ...rest], "f32", "rows");
    task.run(copy, { x, y }, { from: from * elements(rest), to: 0, count: y.length });
    return { output: y, saved: {} };
  },
  vjp: (task, dy, _saved, { from }, _wants, shapes) => {
    const [, ...rest] = dy.shape;
    const dx = task.empty(shapes.x, "f32", "rows.dx");
    task.run(fill, {}, { value: 0 }, { into: { y: dx } });
    task.run(copy, { x: dy, y: dx }, { from: 0, to: from * elements(rest), count: dy.length });
    return { x: dx };
  },
  checks: [
    { inputs: { x: [5, 3] }, attributes: { from: 2 } },
    { inputs: { x: [5, 3] }, attributes: { from: 1, to: 3 } },
  ],
});

/**
 * The buffer [S, …] with the rows of x written from row `at` on: in place, so that its other rows are constants
 * and the output is the buffer itself. What a KV cache does with new keys.
 */
export const writeRows = defineOp({
  name: "writeRows",
  inputs: ["x", "buffer"],
  differentiable: ["x"],
  forward: (task, { x, buffer }, { at, rows }: { readonly at: number; readonly rows: number }) => {
    const row = elements(buffer.shape.slice(1));
    task.run(copy, { x, y: buffer }, { from: 0, to: at * row, count: rows * row });
    return { output: task.alias(buffer, buffer.shape), saved: {} };
  },
  vjp: (task, dy, _saved, { at, rows }) => {
    const [, ...rest] = dy.shape;
    const dx = task.empty([rows, ...rest], "f32", "writeRows.dx");
    task.run(copy, { x: dy, y: dx }, { from: at * elements(rest), to: 0, count: dx.length });
    return { x: dx };
  },
  checks: [{ inputs: { x: [2, 3], buffer: [5, 3] }, attributes: { at: 1, rows: 2 } }],
});
