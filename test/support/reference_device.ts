/**
 * The reference device: runs each kernel's float64 reference. Slow, exact to rounding, and the judge of the others.
 * Real buffers are Float64Arrays; weights are widened when they are written.
 */
import { type DType, isWeightDType } from "../../kernels/base/dtype.ts";
import type {
  BufferView,
  Device,
  DeviceBuffer,
  DeviceInfo,
  DeviceStats,
  KernelCall,
} from "../../engine/device.ts";
import { DeviceError, DisposedError } from "../../engine/errors.ts";
import { widen } from "../../kernels/formats/index.ts";
import { BackendBuffer, checkRun } from "../../engine/backends/common.ts";

type Values = Float64Array | Int32Array | Uint32Array;

class ReferenceBuffer extends BackendBuffer {
  values: Values | undefined;

  constructor(dtype: DType, length: number, label: string) {
    super(dtype, length, label);
    if (label === "") throw new TypeError("a buffer without a name, which errors would tell");
    this.values =
      dtype === "i32"
        ? new Int32Array(length)
        : dtype === "u32"
          ? new Uint32Array(length)
          : new Float64Array(length);
  }
}

function window(view: BufferView): Values {
  const buffer = view.buffer;
  if (!(buffer instanceof ReferenceBuffer)) throw new TypeError(`${buffer.label} is not a reference buffer`);
  if (!buffer.values) throw new DisposedError(buffer.label);
  return buffer.values.subarray(view.offset, view.offset + view.length);
}

export class ReferenceDevice implements Device {
  readonly info: DeviceInfo = {
    kind: "reference",
    description: "reference (float64)",
    software: true,
    facts: {},
  };
  readonly viewAlignment = 1;
  #liveBuffers = 0;
  #liveBytes = 0;
  #peakBytes = 0;
  #allocations = 0;
  #dispatches = 0;

  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    let buffer: ReferenceBuffer;
    try {
      buffer = new ReferenceBuffer(dtype, length, label);
    } catch (cause) {
      throw new DeviceError(`reference: no room for ${label} (${length} elements)`, { cause });
    }
    this.#liveBuffers++;
    this.#allocations++;
    this.#liveBytes += buffer.bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes);
    return buffer;
  }

  free(buffer: DeviceBuffer): void {
    window({ buffer, offset: 0, length: 0 });
    (buffer as ReferenceBuffer).values = undefined;
    this.#liveBuffers--;
    this.#liveBytes -= buffer.bytes;
  }

  /** Takes storage bytes, or for real buffers a Float32Array; `writeExact` takes float64. */
  write(view: BufferView, data: Uint8Array | Float32Array | Int32Array | Uint32Array): void {
    const { dtype } = view.buffer;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
    const target = window(view);
    if (dtype === "i32") target.set(new Int32Array(bytes.buffer));
    else if (dtype === "u32") target.set(new Uint32Array(bytes.buffer));
    else if (isWeightDType(dtype)) target.set(widen(dtype, bytes));
  }

  /** Writes float64 values, which f32 bytes cannot carry: finite differences need them. */
  writeExact(view: BufferView, values: Float64Array): void {
    window(view).set(values);
  }

  read(view: BufferView): Promise<ArrayBuffer> {
    return Promise.resolve(window(view).slice().buffer);
  }

  run(call: KernelCall): void {
    checkRun(call);
    const { kernel, slots, dims, params } = call;
    const arrays = Object.fromEntries(Object.entries(slots).map(([name, view]) => [name, window(view)]));
    kernel.spec.reference(arrays, dims, params);
    this.#dispatches++;
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  stats(): DeviceStats {
    return {
      liveBuffers: this.#liveBuffers,
      liveBytes: this.#liveBytes,
      peakBytes: this.#peakBytes,
      allocations: this.#allocations,
      pipelines: 0,
      bindGroups: 0,
      dispatches: this.#dispatches,
      submits: 0,
    };
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
