/** The `cpu` device: WebAssembly SIMD kernels over one memory, shared out among threads. */
import { availableParallelism } from "node:os";
import { type AnyKernel, type CpuPhase, checkCall } from "../../../kernels/kernel.ts";
import type { BufferView, Device, DeviceBuffer, DeviceInfo, DeviceStats, KernelCall } from "../../device.ts";
import { type DType, byteLength, dtypes } from "../../../kernels/base/dtype.ts";
import { DeviceError, DisposedError, ShapeError } from "../../errors.ts";
import { checkDType, slotElements } from "../../../kernels/base/shape.ts";
import { Allocator } from "./allocator.ts";
import { type Build, type Kernels, describeBuild, loadKernels } from "./build.ts";
import { MAX_THREADS, functionNames } from "./control.js";
import { Pool } from "./pool.ts";

export interface CpuOptions {
  /** Threads that compute, the main thread included; default: all cores. */
  readonly threads?: number;
  readonly build?: Build | "auto";
  /** false: memory that is not shared, hence one thread; default: shared where the engine can. */
  readonly shared?: boolean;
  /** Time each kernel; read by `profile`. */
  readonly profile?: boolean;
  /** Fill new buffers with NaN, so that a kernel that reads what nobody wrote shows. */
  readonly poison?: boolean;
}

/** Addresses below stay unused: no buffer is at 0, and the compiler's own data, were there any, lies there. */
const FIRST_ADDRESS = 65536;
const PAGE = 65536;
/** Memory grows by at least this and by an eighth of its size: seldom, and without touching what is not used. */
const LEAST_GROWTH = 4 * 1024 * 1024;

class CpuBuffer implements DeviceBuffer {
  readonly dtype: DType;
  readonly length: number;
  readonly bytes: number;
  readonly label: string;
  readonly device: CpuDevice;
  readonly address: number;
  live = true;

  constructor(device: CpuDevice, dtype: DType, length: number, label: string, address: number) {
    this.device = device;
    this.dtype = dtype;
    this.length = length;
    this.bytes = byteLength(dtype, length);
    this.label = label;
    this.address = address;
  }
}

interface KernelTime {
  ms: number;
  calls: number;
}

export class CpuDevice implements Device {
  readonly info: DeviceInfo;
  readonly viewAlignment = 1;
  readonly #memory: WebAssembly.Memory;
  readonly #pool: Pool;
  readonly #exports: ReadonlyMap<string, number>;
  readonly #allocator: Allocator;
  readonly #poison: boolean;
  readonly #profile: boolean;
  #times = new Map<string, KernelTime>();
  #scratch: number[] = [];
  #scratchBytes = 0;
  #growths = 0;
  #dispatches = 0;
  #closed = false;

  constructor({ build, module, memory }: Kernels, pool: Pool, options: CpuOptions) {
    const { threads } = pool;
    this.#memory = memory;
    this.#pool = pool;
    this.#exports = new Map(functionNames(module).map((name, i) => [name, i]));
    this.#poison = options.poison === true;
    this.#profile = options.profile === true;
    this.#allocator = new Allocator(FIRST_ADDRESS, (bytes) => this.#grow(bytes));
    this.info = {
      kind: "cpu",
      description: `cpu, ${threads} thread${threads === 1 ? "" : "s"}, ${describeBuild(build)}`,
      software: true,
      facts: { threads, build, shared: memory.buffer instanceof SharedArrayBuffer },
    };
  }

  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    const bytes = byteLength(dtype, length);
    const address = this.#reserve(bytes, label);
    if (this.#poison) new Uint8Array(this.#memory.buffer, address, bytes).fill(0xff);
    return new CpuBuffer(this, dtype, length, label, address);
  }

  free(buffer: DeviceBuffer): void {
    const own = this.#own(buffer);
    own.live = false;
    this.#allocator.free(own.address);
  }

  write(view: BufferView, data: Uint8Array | Float32Array | Int32Array | Uint32Array): void {
    const room = byteLength(view.buffer.dtype, view.length);
    if (data.byteLength > room) {
      throw new DeviceError(`${view.buffer.label}: ${data.byteLength} bytes written to a window of ${room}`);
    }
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(this.#memory.buffer, this.#address(view), data.byteLength).set(bytes);
  }

  read(view: BufferView): Promise<ArrayBuffer> {
    const bytes = byteLength(view.buffer.dtype, view.length);
    const copy = new Uint8Array(bytes);
    copy.set(new Uint8Array(this.#memory.buffer, this.#address(view), bytes));
    return Promise.resolve(copy.buffer);
  }

  run(call: KernelCall): void {
    const { kernel, dims, params } = call;
    checkCall(kernel, dims, params);
    const args = this.#arguments(call);
    const shared =
      kernel.spec.cpuShared && this.#reserve(kernel.spec.cpuShared(dims, params), "shared memory");
    if (shared !== undefined) args.push(shared);
    const start = this.#profile ? performance.now() : 0;
    try {
      for (const phase of kernel.spec.cpu) this.#runPhase(kernel, phase, args, dims, params);
    } finally {
      if (shared !== undefined) this.#allocator.free(shared);
    }
    this.#dispatches++;
    if (this.#profile) {
      const time = this.#times.get(kernel.name) ?? { ms: 0, calls: 0 };
      time.ms += performance.now() - start;
      time.calls++;
      this.#times.set(kernel.name, time);
    }
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  /** Time by kernel since the last call (empty unless opened with `profile`). */
  profile(): Promise<ReadonlyMap<string, KernelTime>> {
    const times = this.#times;
    this.#times = new Map();
    return Promise.resolve(times);
  }

  stats(): DeviceStats {
    // Threads' scratch blocks are the device's own.
    const own = this.#scratch.length;
    return {
      liveBuffers: this.#allocator.liveBlocks - own,
      liveBytes: this.#allocator.liveBytes - own * this.#scratchBytes,
      peakBytes: this.#allocator.peakBytes,
      allocations: this.#growths,
      pipelines: 0,
      bindGroups: 0,
      dispatches: this.#dispatches,
      submits: this.#pool.shared,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pool.close();
  }

  /** The arguments before `begin`: pointers, dims, params, format code. */
  #arguments({ kernel, slots, dims, params }: KernelCall): number[] {
    const args: number[] = [];
    let format: number | undefined;
    for (const slot of kernel.slots) {
      const view = slots[slot.name];
      checkDType(slot.label, slot, view.buffer.dtype);
      const needs = slotElements(slot.label, slot, dims);
      if (needs > view.length) throw new ShapeError(slot.label, `${view.length} elements, needs ${needs}`);
      args.push(this.#address(view));
      if (slot.dtype === "weight") format = dtypes[view.buffer.dtype].code;
    }
    for (const name of kernel.dimNames) args.push(dims[name]);
    for (const name of kernel.paramNames) args.push(params[name]);
    if (format !== undefined) args.push(format);
    return args;
  }

  #runPhase(
    kernel: AnyKernel,
    phase: CpuPhase<KernelCall["dims"], KernelCall["params"]>,
    args: readonly number[],
    dims: KernelCall["dims"],
    params: KernelCall["params"],
  ): void {
    if (this.#closed) throw new DeviceError(`${kernel.name}: the cpu device is closed`);
    const index = this.#exports.get(phase.export);
    if (index === undefined)
      throw new DeviceError(`${kernel.name}: the wasm build has no export ${phase.export}`);
    this.#needScratch(phase.scratch?.(dims, params) ?? 0);
    try {
      this.#pool.run(index, args, phase.units(dims, params), phase.grain?.(dims, params) ?? 1);
    } catch (cause) {
      const sizes = kernel.dimNames.map((name) => ` ${name}=${dims[name]}`).join("");
      throw new DeviceError(`${kernel.name}${sizes} failed: ${(cause as Error).message}`, { cause });
    }
  }

  /** Makes each thread's scratch at least `bytes` long. */
  #needScratch(bytes: number): void {
    if (bytes <= this.#scratchBytes) return;
    for (const address of this.#scratch.splice(0)) this.#allocator.free(address);
    this.#scratchBytes = Math.ceil(bytes / 4096) * 4096;
    for (let thread = 0; thread < this.#pool.threads; thread++) {
      const address = this.#reserve(this.#scratchBytes, "scratch memory");
      this.#scratch.push(address);
      this.#pool.setScratch(thread, address);
    }
  }

  #reserve(bytes: number, label: string): number {
    const address = this.#allocator.allocate(bytes);
    if (address !== undefined) return address;
    const mebibytes = (n: number): string => `${(n / 2 ** 20).toFixed(1)} MiB`;
    throw new DeviceError(
      `cpu: no room for ${label} (${mebibytes(bytes)}): ${mebibytes(this.#allocator.liveBytes)} in use of the ` +
        `4096 MiB that WebAssembly can address`,
    );
  }

  /** Makes at least `bytes` available at the end of the memory. */
  #grow(bytes: number): number | undefined {
    const now = this.#memory.buffer.byteLength;
    // The first page of all stays unused; what lies between it and the end is given out at the first growth.
    const first = this.#growths === 0 ? now - FIRST_ADDRESS : 0;
    for (const wish of [Math.max(bytes, LEAST_GROWTH, now / 8), bytes]) {
      const pages = Math.ceil(Math.max(wish - first, 0) / PAGE);
      try {
        this.#memory.grow(pages);
      } catch {
        continue; // RangeError: past the maximum, or the system has no more
      }
      this.#growths++;
      return pages * PAGE + first;
    }
    return undefined;
  }

  #own(buffer: DeviceBuffer): CpuBuffer {
    if (!(buffer instanceof CpuBuffer) || buffer.device !== this) {
      throw new DeviceError(`${buffer.label} is not a buffer of this device`);
    }
    if (!buffer.live) throw new DisposedError(buffer.label);
    return buffer;
  }

  #address(view: BufferView): number {
    const buffer = this.#own(view.buffer);
    if (view.offset < 0 || view.length < 0 || view.offset + view.length > buffer.length) {
      throw new DeviceError(
        `${buffer.label}: window [${view.offset}, ${view.offset + view.length}) of ${buffer.length} elements`,
      );
    }
    return buffer.address + byteLength(buffer.dtype, view.offset);
  }
}

export async function openCpu(options: CpuOptions = {}): Promise<CpuDevice> {
  const shared = options.shared ?? typeof SharedArrayBuffer !== "undefined";
  const wanted = options.threads ?? availableParallelism();
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > MAX_THREADS) {
    throw new DeviceError(`cpu: ${wanted} threads; give a whole number from 1 to ${MAX_THREADS}`);
  }
  const kernels = await loadKernels(options.build ?? "auto", shared);
  const pool = await Pool.start(kernels, shared ? wanted : 1);
  return new CpuDevice(kernels, pool, options);
}
