/** Another shape over the same memory, and windows of rows. */
import { copy } from "../../kernels/copy/copy.ts";
import { fill } from "../../kernels/fill/fill.ts";
import { elements } from "../shape.ts";
import { defineOp } from "../op.ts";

/** The same elements under another shape; no work is done. */
export const reshape = defineOp({
  name: "reshape",
  inputs: ["x"],
  differentiable: ["x"],
  forward: (engine, { x }, { shape }: { readonly shape: readonly number[] }) => ({
    output: engine.alias(x, shape),
    saved: {},
  }),
  vjp: (_engine, dy) => ({ x: dy }),
  checks: [{ inputs: { x: [2, 6] }, attributes: { shape: [2, 2, 3] } }],
});

/** Rows [from, T) of x [T, …], copied; the rows before them get a zero gradient. */
export const tail = defineOp({
  name: "tail",
  inputs: ["x"],
  differentiable: ["x"],
  forward: (engine, { x }, { from }: { readonly from: number }) => {
    const [rows = 0, ...rest] = x.shape;
    const row = elements(rest);
    const y = engine.empty([rows - from, ...rest], "f32", "tail");
    engine.run(copy, { x, y }, { from: from * row, to: 0, count: y.length });
    return { output: y, saved: {} };
  },
  vjp: (engine, dy, _saved, { from }) => {
    const [rows = 0, ...rest] = dy.shape;
    const dx = engine.empty([rows + from, ...rest], "f32", "tail.dx");
    engine.run(fill, {}, { value: 0 }, { into: { y: dx } });
    engine.run(copy, { x: dy, y: dx }, { from: 0, to: from * elements(rest), count: dy.length });
    return { x: dx };
  },
  checks: [{ inputs: { x: [5, 3] }, attributes: { from: 2 } }],
});
