/** The list of kernels: one line each. Everything generated (tests, benches, tables, the WASM build) starts here. */
import type { AnyKernel } from "./kernel.ts";
import { attention, attention_backward, attention_delta, attention_merge } from "./attention/attention.ts";
import { rms_norm } from "./rms_norm/rms_norm.ts";
import { accumulate, add, add_row } from "./add/add.ts";
import { adamw } from "./adamw/adamw.ts";
import { argmax } from "./argmax/argmax.ts";
import { copy } from "./copy/copy.ts";
import { cross_entropy } from "./cross_entropy/cross_entropy.ts";
import { dropout } from "./dropout/dropout.ts";
import { fill } from "./fill/fill.ts";
import { geglu, geglu_backward } from "./geglu/geglu.ts";
import { kl_divergence } from "./kl_divergence/kl_divergence.ts";
import { momentum } from "./momentum/momentum.ts";
import { penalize } from "./penalize/penalize.ts";
import { rms_norm_backward_g, rms_norm_backward_x } from "./rms_norm/rms_norm_backward.ts";
import { sample } from "./sample/sample.ts";
import { scale_rows } from "./scale_rows/scale_rows.ts";
import { soft_cap, soft_cap_backward } from "./soft_cap/soft_cap.ts";
import { sum, sum_squares } from "./sum/sum.ts";
import { swiglu, swiglu_backward } from "./swiglu/swiglu.ts";
import { top_k } from "./top_k/top_k.ts";
import { embedding } from "./embedding/embedding.ts";
import { matmul_nn, matmul_nn_acc, matmul_nt, matmul_nt_acc, matmul_tn } from "./matmul/matmul.ts";
import { rope } from "./rope/rope.ts";
import { rope_cache } from "./rope/rope_cache.ts";

export const kernels = {
  matmul_nt,
  matmul_nt_acc,
  matmul_nn,
  matmul_nn_acc,
  matmul_tn,
  embedding,
  attention,
  attention_delta,
  attention_backward,
  attention_merge,
  rms_norm,
  rms_norm_backward_x,
  rms_norm_backward_g,
  swiglu,
  swiglu_backward,
  geglu,
  geglu_backward,
  add,
  accumulate,
  add_row,
  scale_rows,
  soft_cap,
  soft_cap_backward,
  fill,
  copy,
  cross_entropy,
  kl_divergence,
  sum,
  sum_squares,
  adamw,
  momentum,
  dropout,
  argmax,
  top_k,
  sample,
  penalize,
  rope,
  rope_cache,
} satisfies Record<string, AnyKernel>;

export type * from "./kernel.ts";
export type { DType, Layout, WeightDType } from "./base/dtype.ts";
export type { DimsOf, ParsedSlot, Shape, Slot, SlotDType } from "./base/shape.ts";
