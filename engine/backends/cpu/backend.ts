/** The `cpu` device: WebAssembly SIMD kernels over one memory, shared out among threads. */
import { entry } from "../../../kernels/base/at.ts";
import type { AnyKernel, CpuPhase } from "../../../kernels/kernel.ts";
import type { BufferView, Device, DeviceBuffer, DeviceInfo, DeviceStats, KernelCall } from "../../device.ts";
import { type DType, byteLength, dtypes } from "../../../kernels/base/dtype.ts";
import { BadInputError, DeviceError, DeviceLostError, DisposedError, ShapeError } from "../../errors.ts";
import { checkDType, slotElements } from "../../../kernels/base/shape.ts";
import { BackendBuffer, type KernelTime, KernelTimes, checkRun, checkWindow, checkWrite } from "../common.ts";
import { Allocator } from "./allocator.ts";
import { type Kernels, describeBuild, loadKernels } from "./build.ts";
import { MAX_THREADS, functionNames } from "./control.js";
import type { CpuOptions } from "./options.ts";
import { Pool } from "./pool.ts";

/** Addresses below stay unused: no buffer is at 0, and data of the compiler's own would lie there. */
const FIRST_ADDRESS = 65536;
const PAGE = 65536;
/** Memory grows by at least this and by an eighth of its size: seldom, and without touching what is not used. */
const LEAST_GROWTH = 4 * 1024 * 1024;

class CpuBuffer extends BackendBuffer {
  readonly device: CpuDevice;
  readonly address: number;
  live = true;

  constructor(device: CpuDevice, address: number, dtype: DType, length: number, label: string) {
    super(dtype, length, label);
    this.device = device;
    this.address = address;
  }
}

export class CpuDevice implements Device {
  readonly info: DeviceInfo;
  readonly viewAlignment = 1;
  readonly share: Int32Array;
  readonly #memory: WebAssembly.Memory;
  readonly #maxBytes: number;
  readonly #pool: Pool;
  readonly #exports: ReadonlyMap<string, number>;
  readonly #allocator: Allocator;
  readonly #poison: boolean;
  /** Null unless opened with `profile`. */
  readonly #times: KernelTimes | null;
  /** Address of the threads' own memory: one block, with #scratchBytes for each thread; undefined while there is none. */
  #scratch: number | undefined;
  #scratchBytes = 0;
  #growths = 0;
  #dispatches = 0;

  constructor(kernels: Kernels, pool: Pool, options: CpuOptions) {
    const { build, module, memory, maxBytes } = kernels;
    const { threads } = pool;
    this.#memory = memory;
    this.#maxBytes = maxBytes;
    this.#pool = pool;
    this.share = pool.share;
    this.#exports = new Map(functionNames(module).map((name, i) => [name, i]));
    this.#poison = options.poison === true;
    this.#times = options.profile ? new KernelTimes() : null;
    this.#allocator = new Allocator(FIRST_ADDRESS, (bytes) => this.#grow(bytes));
    this.info = {
      kind: "cpu",
      description: `cpu, ${threads} thread${threads === 1 ? "" : "s"}, ${describeBuild(build, options.v8Flags)}`,
      software: true,
      facts: { threads, build, shared: isShared(kernels) },
    };
  }

  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    this.#pool.assertAlive();
    const bytes = byteLength(dtype, length);
    const address = this.#reserve(bytes, label);
    if (this.#poison) new Uint8Array(this.#memory.buffer, address, bytes).fill(0xff);
    return new CpuBuffer(this, address, dtype, length, label);
  }

  free(buffer: DeviceBuffer): void {
    const own = this.#own(buffer);
    own.live = false;
    this.#allocator.free(own.address);
  }

  write(view: BufferView, data: Uint8Array | Float32Array | Int32Array | Uint32Array): void {
    this.#pool.assertAlive();
    checkWrite(view, data.byteLength);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(this.#memory.buffer, this.#address(view), data.byteLength).set(bytes);
  }

  inPlace(view: BufferView): Uint8Array {
    const length = byteLength(view.buffer.dtype, view.length);
    return new Uint8Array(this.#memory.buffer, this.#address(view), length);
  }

  async read(view: BufferView): Promise<ArrayBuffer> {
    this.#pool.assertAlive();
    const bytes = this.inPlace(view);
    try {
      return bytes.slice().buffer;
    } catch (cause) {
      const size = mebibytes(bytes.length);
      throw new DeviceError(`cpu: no room for a copy of ${view.buffer.label} (${size})`, { cause });
    }
  }

  run(call: KernelCall): void {
    this.#pool.assertAlive();
    checkRun(call);
    this.#launch(call, this.#arguments(call));
  }

  /** Checks the call and finds its arguments once: a token is hundreds of calls, each of a few microseconds. */
  prepare(call: KernelCall): () => void {
    checkRun(call);
    const args = this.#arguments(call);
    return () => {
      this.#pool.assertAlive();
      this.#launch(call, args);
    };
  }

  #launch({ kernel, dims, params }: KernelCall, given: readonly number[]): void {
    const shared =
      kernel.spec.cpuShared && this.#reserve(kernel.spec.cpuShared(dims, params), "shared memory");
    const args = shared === undefined ? given : [...given, shared];
    const start = this.#times ? performance.now() : 0;
    try {
      for (const phase of kernel.spec.cpu) this.#runPhase(kernel, phase, args, dims, params);
    } finally {
      if (shared !== undefined) this.#allocator.free(shared);
    }
    this.#dispatches++;
    this.#times?.add(kernel.name, performance.now() - start);
  }

  async flush(): Promise<void> {
    this.#pool.assertAlive();
  }

  /** Time by kernel since the last call (empty unless opened with `profile`). */
  profile(): Promise<ReadonlyMap<string, KernelTime>> {
    return Promise.resolve(this.#times?.take() ?? new Map());
  }

  stats(): DeviceStats {
    // The threads' scratch is the device's own.
    return {
      liveBuffers: this.#allocator.liveBlocks - (this.#scratch === undefined ? 0 : 1),
      liveBytes: this.#allocator.liveBytes - this.#scratchBytes * this.#pool.threads,
      peakBytes: this.#allocator.peakBytes,
      allocations: this.#growths,
      pipelines: 0,
      bindGroups: 0,
      dispatches: this.#dispatches,
      submits: this.#pool.shared,
    };
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The arguments before `begin`: pointers, dims, params, format code. */
  #arguments({ kernel, slots, dims, params }: KernelCall): number[] {
    const args: number[] = [];
    let format: number | undefined;
    for (const slot of kernel.slots) {
      const view = entry(slots, slot.name);
      checkDType(slot.label, slot, view.buffer.dtype);
      const needs = slotElements(slot.label, slot, dims);
      if (needs > view.length) throw new ShapeError(slot.label, `${view.length} elements, needs ${needs}`);
      args.push(this.#address(view));
      if (slot.dtype === "weight") format = dtypes[view.buffer.dtype].code;
    }
    for (const name of kernel.dimNames) args.push(entry(dims, name));
    for (const name of kernel.paramNames) args.push(entry(params, name));
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
    const index = this.#exports.get(phase.export);
    if (index === undefined)
      throw new DeviceError(`${kernel.name}: the wasm build has no export ${phase.export}`);
    this.#needScratch(phase.scratch?.(dims, params) ?? 0);
    try {
      this.#pool.run(index, args, phase.units(dims, params), phase.grain?.(dims, params) ?? 1);
    } catch (cause) {
      if (cause instanceof DeviceLostError) throw cause;
      const sizes = kernel.dimNames.map((name) => ` ${name}=${dims[name]}`).join("");
      throw new DeviceError(`${kernel.name}${sizes} failed: ${(cause as Error).message}`, { cause });
    }
  }

  /** Makes each thread's scratch at least `bytes` long. */
  #needScratch(bytes: number): void {
    if (bytes <= this.#scratchBytes) return;
    const { threads } = this.#pool;
    // The old block is freed first, so that the new one may take its place; should that fail, there is none.
    if (this.#scratch !== undefined) this.#allocator.free(this.#scratch);
    this.#scratch = undefined;
    this.#scratchBytes = 0;
    const size = Math.ceil(bytes / 4096) * 4096;
    const address = this.#reserve(size * threads, "scratch memory");
    this.#scratch = address;
    this.#scratchBytes = size;
    for (let thread = 0; thread < threads; thread++) this.#pool.setScratch(thread, address + thread * size);
  }

  #reserve(bytes: number, label: string): number {
    const address = this.#allocator.allocate(bytes);
    if (address !== undefined) return address;
    throw new DeviceError(
      `cpu: no room for ${label} (${mebibytes(bytes)}): ${mebibytes(this.#allocator.liveBytes)} in use of ` +
        `at most ${mebibytes(this.#maxBytes)}`,
    );
  }

  /** Makes at least `bytes` available at the end of the memory. */
  #grow(bytes: number): number | undefined {
    const now = this.#memory.buffer.byteLength;
    // The first growth also hands out what the memory had from the start, above FIRST_ADDRESS.
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
    checkWindow(view);
    return buffer.address + byteLength(buffer.dtype, view.offset);
  }
}

export async function openCpu(options: CpuOptions = {}): Promise<CpuDevice> {
  const wanted = options.threads ?? (await cores());
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > MAX_THREADS) {
    throw new BadInputError(`threads ${wanted}: a whole number from 1 to ${MAX_THREADS} is expected`);
  }
  const kernels = await loadKernels(options);
  const pool = await Pool.start(kernels, isShared(kernels) ? wanted : 1);
  return new CpuDevice(kernels, pool, options);
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

async function cores(): Promise<number> {
  const { availableParallelism } = await import("../host/workers.js");
  return Math.min(availableParallelism(), MAX_THREADS);
}

function isShared({ memory }: Kernels): boolean {
  return typeof SharedArrayBuffer !== "undefined" && memory.buffer instanceof SharedArrayBuffer;
}
