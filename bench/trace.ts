/** A device that computes nothing and writes down the kernel calls: the exact shapes of a model's work. */
import { entry } from "../kernels/base/at.ts";
import type { BufferView, Device, DeviceBuffer, DeviceStats, KernelCall } from "../engine/device.ts";
import { type DType, type WeightDType, byteLength, isWeightDType } from "../kernels/base/dtype.ts";
import type { AnyKernel } from "../kernels/kernel.ts";

type Numbers = Readonly<Record<string, number>>;

/** A kernel at sizes at which it was called, with the weight's storage format. */
export interface TracedCall {
  readonly kernel: AnyKernel;
  readonly dims: Numbers;
  readonly params: Numbers;
  readonly weight: WeightDType;
  readonly cost: { readonly flops: number; readonly bytes: number };
}

/** Equal for calls that do the same work on other buffers. */
export function workOf({ kernel, dims, weight, cost }: TracedCall): string {
  return JSON.stringify([kernel.name, dims, weight, cost.flops, cost.bytes]);
}

const nothing: DeviceStats = {
  liveBuffers: 0,
  liveBytes: 0,
  peakBytes: 0,
  allocations: 0,
  pipelines: 0,
  bindGroups: 0,
  dispatches: 0,
  submits: 0,
};

export class TracingDevice implements Device {
  readonly info = { kind: "reference", description: "trace", software: true, facts: {} } as const;
  readonly viewAlignment = 64;
  #calls: TracedCall[] = [];

  /** The calls since the last `take`. */
  take(): TracedCall[] {
    const calls = this.#calls;
    this.#calls = [];
    return calls;
  }

  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    return { dtype, length, label, bytes: byteLength(dtype, length) };
  }

  run({ kernel, slots, dims, params }: KernelCall): void {
    const stored = kernel.weightSlot === undefined ? "f32" : entry(slots, kernel.weightSlot).buffer.dtype;
    const weight = isWeightDType(stored) ? stored : "f32";
    this.#calls.push({
      kernel,
      dims: { ...dims },
      params,
      weight,
      cost: kernel.spec.cost(dims, params, weight),
    });
  }

  /** Zeros: finite losses, the first token. */
  read({ buffer, length }: BufferView): Promise<ArrayBuffer> {
    // Reals as float64, as `info.kind` promises.
    return Promise.resolve(
      new ArrayBuffer(buffer.dtype === "f32" ? 8 * length : byteLength(buffer.dtype, length)),
    );
  }

  free(): void {}
  write(): void {}
  flush(): Promise<void> {
    return Promise.resolve();
  }
  stats(): DeviceStats {
    return nothing;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
