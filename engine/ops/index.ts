/** The list of differentiable ops. Gradient checks are generated from it. */
import type { CheckedOpSpec } from "../op.ts";
import { attention, jointAttention } from "./attention.ts";
import { add, dropout, geglu, softCap, swiglu } from "./elementwise.ts";
import { addBias, deltaLinear, linear, loraLinear } from "./linear.ts";
import { linearCrossEntropy, linearDivergence } from "./loss.ts";
import { deltaNorm, rmsNorm } from "./norm.ts";
import { rope } from "./rope.ts";
import { reshape, rows, writeRows } from "./view.ts";

export const ops = {
  add,
  addBias,
  attention,
  deltaLinear,
  deltaNorm,
  dropout,
  geglu,
  jointAttention,
  linear,
  linearCrossEntropy,
  linearDivergence,
  loraLinear,
  reshape,
  rmsNorm,
  rope,
  rows,
  softCap,
  swiglu,
  writeRows,
} satisfies Record<string, { readonly spec: CheckedOpSpec }>;

export {
  add,
  addBias,
  attention,
  deltaLinear,
  deltaNorm,
  dropout,
  geglu,
  jointAttention,
  linear,
  linearCrossEntropy,
  linearDivergence,
  loraLinear,
  reshape,
  rmsNorm,
  rope,
  rows,
  softCap,
  swiglu,
  writeRows,
};
export { embedding } from "./embedding.ts";
export { type LinearLayer, addLinear, linearGroup } from "./linear_group.ts";
export { ropeCache } from "./rope.ts";
