/** The engine's public names. */
import "./fluent.ts";

export type { Device, DeviceInfo, DeviceKind, DeviceStats } from "./device.ts";
export { type DType, dtypes } from "../kernels/base/dtype.ts";
export { openDevice, type DeviceChoice, type OpenDeviceOptions } from "./backends/open.ts";
export { checkpoint } from "./checkpoint.ts";
export * from "./errors.ts";
export { AdamW, type AdamWOptions } from "./optim/adamw.ts";
export { type Op, type OpSpec, defineOp } from "./op.ts";
export {
  add,
  attention,
  dropout,
  embedding,
  linear,
  linearCrossEntropy,
  loraLinear,
  reshape,
  rmsNorm,
  rope,
  rows,
  swiglu,
} from "./ops/index.ts";
export { Parameters, type ParameterSpec } from "./parameters.ts";
export { type Tape, record } from "./tape.ts";
export { Task } from "./task.ts";
export { type Tensor, allocate } from "./tensor.ts";
