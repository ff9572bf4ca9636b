/**
 * Some ops as methods, for chains such as `x.linear(w).add(b).reshape([2, 3])`. Each is the op of that name with the tensor as
 * its first input.
 */
import { Tensor } from "./tensor.ts";
import { add, linear, reshape, rmsNorm, rows, swiglu } from "./ops/index.ts";

declare module "./tensor.ts" {
  interface Tensor {
    /** this + b, same shape. */
    add(b: Tensor): Tensor;
    /** this [T, in] · w [out, in]ᵀ. */
    linear(w: Tensor): Tensor;
    /** The same elements under another shape. */
    reshape(shape: readonly number[]): Tensor;
    /** Rows [from, to) along the first axis. */
    rows(from: number, to?: number): Tensor;
    /** this / rms(this) · g. */
    rmsNorm(g: Tensor, attributes: { readonly eps: number }): Tensor;
    /** silu(this) · up, same shape. */
    swiglu(up: Tensor): Tensor;
  }
}

const { prototype } = Tensor;
prototype.add = function (b) {
  return add(this, b);
};
prototype.linear = function (w) {
  return linear(this, w);
};
prototype.reshape = function (shape) {
  return reshape(this, { shape });
};
prototype.rows = function (from, to) {
  return rows(this, to === undefined ? { from } : { from, to });
};
prototype.rmsNorm = function (g, attributes) {
  return rmsNorm(this, g, attributes);
};
prototype.swiglu = function (up) {
  return swiglu(this, up);
};
