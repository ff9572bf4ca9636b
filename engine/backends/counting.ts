/**
 * A device that computes nothing: run on it, a task shows how much memory it would take. Results are zeros, so that the work takes
 * the host's time alone. Memory is handed out as the CPU device does it, gaps and the kernels' scratch included; on WebGPU, whose
 * drivers keep to themselves what else they need, the figure is a lower bound. What a WebGPU adapter would refuse is refused.
 */
import { entry } from "../../kernels/base/at.ts";
import { type DType, type WeightDType, byteLength, isWeightDType } from "../../kernels/base/dtype.ts";
import type { BufferView, Device, DeviceBuffer, DeviceLimits, DeviceStats, KernelCall } from "../device.ts";
import { BackendBuffer, checkBinding, checkBuffer } from "./common.ts";
import { Allocator } from "./cpu/allocator.ts";

class CountedBuffer extends BackendBuffer {
  readonly address: number;

  constructor(address: number, dtype: DType, length: number, label: string) {
    super(dtype, length, label);
    this.address = address;
  }
}

/** What memory on a device depends on. */
export type DeviceLike = Pick<Device, "info" | "viewAlignment" | "limits">;

export class CountingDevice implements Device {
  readonly info: Device["info"];
  readonly viewAlignment: number;
  readonly limits: DeviceLimits;
  readonly #allocator = new Allocator(0, (bytes) => {
    this.#end += bytes;
    return bytes;
  });
  #end = 0;
  readonly #threads: number;
  #scratch = 0;
  #scratchAddress: number | undefined;
  #allocations = 0;
  #dispatches = 0;

  /** `like`: the device of which a run's memory is counted. */
  constructor({ info, viewAlignment, limits = { buffer: Infinity, binding: Infinity } }: DeviceLike) {
    this.info = info;
    this.viewAlignment = viewAlignment;
    this.limits = limits;
    this.#threads = info.kind === "cpu" ? Number(info.facts["threads"]) : 0;
  }

  /** The most bytes in use at one time so far, with the gaps between them. */
  get bytes(): number {
    return this.#end;
  }

  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    this.#allocations++;
    checkBuffer(label, byteLength(dtype, length), this.limits.buffer);
    return new CountedBuffer(this.#reserve(byteLength(dtype, length)), dtype, length, label);
  }

  free(buffer: DeviceBuffer): void {
    this.#allocator.free((buffer as CountedBuffer).address);
  }

  write(): void {
    // zeros stay zeros
  }

  read({ buffer, length }: BufferView): Promise<ArrayBuffer> {
    return Promise.resolve(new ArrayBuffer(byteLength(buffer.dtype, length)));
  }

  run(call: KernelCall): void {
    this.#dispatches++;
    if (this.info.kind === "webgpu") this.#dispatch(call);
    if (this.#threads === 0) return;
    const { kernel, dims, params } = call;
    const shared = kernel.spec.cpuShared && this.#reserve(kernel.spec.cpuShared(dims, params));
    for (const phase of kernel.spec.cpu) this.#needScratch(phase.scratch?.(dims, params) ?? 0);
    if (shared !== undefined) this.#allocator.free(shared);
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  stats(): DeviceStats {
    return {
      liveBuffers: this.#allocator.liveBlocks - (this.#scratchAddress === undefined ? 0 : 1),
      liveBytes: this.#allocator.liveBytes - this.#scratch * this.#threads,
      peakBytes: this.#allocator.peakBytes,
      allocations: this.#allocations,
      dispatches: this.#dispatches,
      ...{ pipelines: 0, bindGroups: 0, submits: 0 },
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The bindings of a kernel on WebGPU, and the scratch that is its own while it is issued. */
  #dispatch({ kernel, slots, dims, params }: KernelCall): void {
    const { binding: maxBinding } = this.limits;
    const bind = (name: string, { buffer, length }: BufferView): void =>
      checkBinding(`${kernel.name}.${name} (${buffer.label})`, byteLength(buffer.dtype, length), maxBinding);
    let weight: WeightDType = "f32";
    for (const { name } of kernel.slots) {
      const view = entry(slots, name);
      if (name !== kernel.weightSlot) bind(name, view);
      else if (isWeightDType(view.buffer.dtype)) weight = view.buffer.dtype;
    }
    const context = { weight, software: this.info.software, maxBinding };
    const scratch = Object.entries(kernel.spec.webgpuScratch?.(dims, params, context) ?? {});
    const buffers = scratch.map(([name, length]) => {
      const buffer = this.allocate("f32", length, `${kernel.name}.${name}`);
      bind(name, { buffer, offset: 0, length });
      return buffer;
    });
    for (const buffer of buffers) this.free(buffer);
  }

  #reserve(bytes: number): number {
    return this.#allocator.allocate(bytes) ?? 0; // it grows without end
  }

  #needScratch(bytes: number): void {
    if (bytes <= this.#scratch) return;
    if (this.#scratchAddress !== undefined) this.#allocator.free(this.#scratchAddress);
    this.#scratch = Math.ceil(bytes / 4096) * 4096;
    this.#scratchAddress = this.#reserve(this.#scratch * this.#threads);
  }
}
