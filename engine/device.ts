/**
 * The device interface: buffers and kernel runs, nothing about tensors, tapes or models. Two devices compute
 * (`cpu`, `webgpu`); a third, `reference`, computes in float64 for tests (test/support/reference_device.ts).
 */
import type { AnyKernel } from "../kernels/kernel.ts";
import type { DType } from "../kernels/base/dtype.ts";

export type DeviceKind = "cpu" | "webgpu" | "reference";

/** Memory on a device; opaque to everybody but its device. */
export interface DeviceBuffer {
  readonly dtype: DType;
  /** In elements. */
  readonly length: number;
  /** As stored on the device. */
  readonly bytes: number;
  readonly label: string;
}

/** A part of a buffer, in elements. Offsets are multiples of `Device.viewAlignment`. */
export interface BufferView {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly length: number;
}

export interface KernelCall {
  readonly kernel: AnyKernel;
  /** By slot name. An output or inout never shares a buffer with another slot: every device refuses that. */
  readonly slots: Readonly<Record<string, BufferView>>;
  readonly dims: Readonly<Record<string, number>>;
  readonly params: Readonly<Record<string, number>>;
}

export interface DeviceInfo {
  /** "cpu", "webgpu" or "reference". */
  readonly kind: DeviceKind;
  /** One line for people: threads and SIMD build, or adapter and driver. */
  readonly description: string;
  /** A WebGPU adapter that computes on the CPU. */
  readonly software: boolean;
  /** Facts for records: threads, build, vendor, architecture, features. */
  readonly facts: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

/** Counters that tests and records read. All but `live*` only grow. */
export interface DeviceStats {
  readonly liveBuffers: number;
  readonly liveBytes: number;
  readonly peakBytes: number;
  /** Backing allocations made (a pool's hit makes none). */
  readonly allocations: number;
  readonly pipelines: number;
  readonly bindGroups: number;
  readonly dispatches: number;
  readonly submits: number;
}

/** Bytes. */
export interface DeviceLimits {
  /** Of a buffer. */
  readonly buffer: number;
  /** Of what one slot of a kernel is; weights, which go through kernels by rows, may be larger. */
  readonly binding: number;
}

/** `await using device = await openDevice("cpu")` closes it at the end of the block. */
export interface Device extends AsyncDisposable {
  readonly info: DeviceInfo;
  /** Elements of f32 to which view offsets are aligned. */
  readonly viewAlignment: number;
  /** None where memory is the only limit. */
  readonly limits?: DeviceLimits;
  /**
   * How many of its threads compute: one number, in memory that threads share; any of them may change it at any time, and no result
   * depends on it. None for devices without threads.
   */
  readonly share?: Int32Array;
  /** Contents are undefined. Throws DeviceError when it does not fit. */
  allocate(dtype: DType, length: number, label: string): DeviceBuffer;
  /** The memory may be reused by the next allocate; work already issued still sees the old contents. */
  free(buffer: DeviceBuffer): void;
  /** Writes raw bytes in the storage format of the buffer's dtype from the view's start on. Copies before it returns. */
  write(view: BufferView, data: Uint8Array | Float32Array | Int32Array | Uint32Array): void;
  /** Raw bytes, after all work issued before. The reference device gives f32 buffers as float64 bytes. */
  read(view: BufferView): Promise<ArrayBuffer>;
  /**
   * A view's bytes where they lie, for devices in memory that threads share: another thread may read them, in place of a copy. Kernels
   * go on writing there.
   */
  inPlace?(view: BufferView): Uint8Array;
  /** Issues the kernel. Effects are ordered as issued. */
  run(call: KernelCall): void;
  /** The call checked once, to be run any number of times while its buffers live: for devices where that saves the host work. */
  prepare?(call: KernelCall): () => void;
  /** Resolves when all issued work is done; rejects with what went wrong in it. */
  flush(): Promise<void>;
  stats(): DeviceStats;
  /** Ends threads and frees memory; nothing but `stats`, `free` and `close` itself is of use from then on. */
  close(): Promise<void>;
}
