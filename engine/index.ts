/** The engine's public names. */
export type { Device, DeviceInfo, DeviceKind, DeviceStats } from "./device.ts";
export { type DeviceChoice, type OpenDeviceOptions, openDevice } from "./backends/open.ts";
export { type DType, dtypes } from "../kernels/base/dtype.ts";
export { Task } from "./task.ts";
export * from "./errors.ts";
export { AdamW, type AdamWOptions } from "./optim/adamw.ts";
export { type Op, type OpSpec, defineOp } from "./op.ts";
export { embedding, ops } from "./ops/index.ts";
export { Parameters } from "./parameters.ts";
export { Tensor } from "./tensor.ts";
