/** What all devices have in common: the description of a buffer, checks of calls and views, the times of kernels. */
import { type DType, byteLength } from "../../kernels/base/dtype.ts";
import { checkCall } from "../../kernels/kernel.ts";
import type { BufferView, DeviceBuffer, KernelCall } from "../device.ts";
import { DeviceError } from "../errors.ts";

/** A buffer; each device adds where its memory is. */
export class BackendBuffer implements DeviceBuffer {
  readonly dtype: DType;
  readonly length: number;
  readonly bytes: number;
  readonly label: string;

  constructor(dtype: DType, length: number, label: string) {
    this.dtype = dtype;
    this.length = length;
    this.bytes = byteLength(dtype, length);
    this.label = label;
  }
}

/**
 * Throws when dimensions or parameters are outside their ranges (checkCall), DeviceError when a slot is missing, or when an
 * output or inout shares its buffer with another slot, whatever their parts of it. WebGPU cannot bind that; on other devices the result
 * would depend on the order of reading and writing.
 */
export function checkRun({ kernel, slots, dims, params }: KernelCall): void {
  for (const slot of kernel.slots) {
    const view = slots[slot.name];
    if (!view) throw new DeviceError(`${kernel.name}: slot ${slot.name} is not given`);
    if (slot.role === "input") continue;
    for (const other of kernel.slots) {
      if (other !== slot && slots[other.name]?.buffer === view.buffer) {
        throw new DeviceError(
          `${kernel.name}: ${slot.role} ${slot.name} shares its buffer with ${other.name}`,
        );
      }
    }
  }
  checkCall(kernel, dims, params);
}

/** Throws DeviceError when a view is not within its buffer. */
export function checkWindow({ buffer, offset, length }: BufferView): void {
  if (offset >= 0 && length >= 0 && offset + length <= buffer.length) return;
  const { label, length: elements } = buffer;
  throw new DeviceError(`${label}: elements [${offset}, ${offset + length}) of ${elements}`);
}

/** Throws DeviceError when `bytes` are more than a view holds. */
export function checkWrite({ buffer, length }: BufferView, bytes: number): void {
  const room = byteLength(buffer.dtype, length);
  if (bytes > room) throw new DeviceError(`${buffer.label}: ${bytes} bytes written to a view of ${room}`);
}

/** Throws DeviceError when a buffer of so many bytes is too large for an adapter. */
export function checkBuffer(label: string, bytes: number, limit: number): void {
  if (bytes > limit)
    throw new DeviceError(
      `${label}: ${bytes} bytes are more than one buffer of this adapter holds (${limit})`,
    );
}

/** Throws DeviceError when a binding of so many bytes is. */
export function checkBinding(where: string, bytes: number, limit: number): void {
  if (bytes > limit) throw new DeviceError(`${where}: ${bytes} bytes; this adapter binds at most ${limit}`);
}

/** Milliseconds and calls of a kernel. */
export interface KernelTime {
  ms: number;
  calls: number;
}

/** Sums of times by kernel. */
export class KernelTimes {
  #times = new Map<string, KernelTime>();

  add(kernel: string, ms: number): void {
    const time = this.#times.get(kernel) ?? { ms: 0, calls: 0 };
    time.ms += ms;
    time.calls++;
    this.#times.set(kernel, time);
  }

  /** The sums since the last call. */
  take(): ReadonlyMap<string, KernelTime> {
    const times = this.#times;
    this.#times = new Map();
    return times;
  }
}
