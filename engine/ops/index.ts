/** The list of differentiable ops. Gradient checks are generated from it. */
import type { AnyOpSpec } from "../op.ts";
import { attention } from "./attention.ts";
import { add, dropout, swiglu } from "./elementwise.ts";
import { linear, loraLinear } from "./linear.ts";
import { linearCrossEntropy } from "./loss.ts";
import { rmsNorm } from "./norm.ts";
import { rope } from "./rope.ts";
import { reshape, tail, writeRows } from "./view.ts";

export const ops = {
  add,
  attention,
  dropout,
  linear,
  linearCrossEntropy,
  loraLinear,
  reshape,
  rmsNorm,
  rope,
  swiglu,
  tail,
  writeRows,
} satisfies Record<string, { readonly spec: AnyOpSpec }>;

export { embedding } from "./embedding.ts";
