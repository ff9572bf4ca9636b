/** The engine's public names. */
import "./fluent.ts";

export type { Device, DeviceInfo, DeviceKind, DeviceLimits, DeviceStats } from "./device.ts";
export { type DType, dtypes } from "../kernels/base/dtype.ts";
export { openDevice, type DeviceChoice, type OpenDeviceOptions } from "./backends/open.ts";
export { checkpoint } from "./checkpoint.ts";
export * from "./errors.ts";
export { AdamW, type AdamWOptions } from "./optim/adamw.ts";
export { Muon } from "./optim/muon.ts";
export {
  Optimizer,
  type OptimizerKind,
  type OptimizerOptions,
  type OptimizerRun,
} from "./optim/optimizer.ts";
export { SGD, type SGDOptions } from "./optim/sgd.ts";
export { type Op, type OpSpec, defineOp } from "./op.ts";
export {
  add,
  addBias,
  attention,
  deltaLinear,
  deltaNorm,
  dropout,
  embedding,
  geglu,
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
} from "./ops/index.ts";
export { type ParameterRange, type ParameterSpec, Parameters } from "./parameters.ts";
export { type Tape, record } from "./tape.ts";
export { Task } from "./task.ts";
export { type Tensor, allocate } from "./tensor.ts";

// Types that the signatures above name.
export { deviceChoices } from "./backends/open.ts";
export type { Body } from "./checkpoint.ts";
export type { BufferView, DeviceBuffer, KernelCall } from "./device.ts";
export type { Cost, KernelTotals, Meter } from "./meter.ts";
export type { Attributes, CheckedOpSpec, OpCheck, Positional } from "./op.ts";
export type { AttentionAttributes } from "./ops/attention.ts";
export type { DropoutAttributes } from "./ops/elementwise.ts";
export type { LoraAttributes } from "./ops/linear.ts";
export type { LinearCrossEntropyAttributes } from "./ops/loss.ts";
export type { LinearLayer } from "./ops/linear_group.ts";
export type { Replay, ReplayParams } from "./replay.ts";
export type { Scope } from "./scope.ts";
export type { AnyOpSpec, Named, Nested, Numbers, Recorder, RunOptions, Slots, Tensors } from "./task.ts";
export type { Owner, Storage } from "./tensor.ts";
export type { Layout, WeightDType } from "../kernels/base/dtype.ts";
export type { Shape } from "../kernels/base/shape.ts";
