/**
 * Commands: dispatches gather in one encoder and go to the GPU together. A batch ends at a read or a flush,
 * when its estimated work would keep a slow adapter busy too long (Windows resets a GPU after about two seconds), when
 * its parameter arena is full, or when a buffer that it uses is written from the host: queue.writeBuffer takes effect
 * at its place among the *submits*, so it would overtake pending commands.
 */
import type { Block } from "./buffers.ts";
import { DeviceError } from "../../errors.ts";
import type { Faults } from "./faults.ts";
import type { KernelTime } from "../common.ts";
import { Profiler } from "./profiler.ts";

/** Bytes of one dispatch's parameters; also their alignment (the largest minUniformBufferOffsetAlignment there is). */
export const PARAMETER_BYTES = 256;
const MAX_DISPATCHES = 4096;
/** Most seconds of work in one submit, estimated at the modest rates below. */
const MAX_SECONDS = 0.25;
const RATES = {
  software: { flops: 4e9, bytes: 4e9 },
  hardware: { flops: 2e11, bytes: 2e10 },
};
/** Dawn frees the staging memory of writeBuffer only at a submit. */
const MAX_UPLOAD = 16 * 2 ** 20;

export interface Dispatch {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly groups: readonly [number, number, number];
  readonly blocks: readonly Block[];
  /** The uniform's words, at most PARAMETER_BYTES. */
  readonly parameters: Uint32Array;
}

export class CommandQueue {
  readonly #device: GPUDevice;
  readonly #faults: Faults;
  readonly #rates: { readonly flops: number; readonly bytes: number };
  readonly #profiler: Profiler | undefined;
  /** One uniform buffer for all parameters of a batch: every bind group names it, a dynamic offset picks the slice. */
  readonly arena: GPUBuffer;
  readonly #words = new Uint32Array((MAX_DISPATCHES * PARAMETER_BYTES) / 4);
  readonly #offset = new Uint32Array(1);
  readonly #staging = new Map<number, GPUBuffer[]>();
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  #batch = 0;
  #pending = 0;
  #seconds = 0;
  #uploaded = 0;
  dispatches = 0;
  submits = 0;
  /** GPUBuffers made for read-backs. */
  stagingBuffers = 0;

  constructor(device: GPUDevice, faults: Faults, options: { software: boolean; profile: boolean }) {
    this.#device = device;
    this.#faults = faults;
    this.#rates = options.software ? RATES.software : RATES.hardware;
    this.#profiler = options.profile ? new Profiler(device) : undefined;
    const [label, size] = ["parameter arena", this.#words.byteLength];
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const make = (): GPUBuffer => device.createBuffer({ label, size, usage });
    this.arena = faults.guard(["out-of-memory", "validation"], make, (message) => `${label}: ${message}`);
  }

  /** Makes room for a kernel of `passes` dispatches and the given work; called before its first dispatch. */
  reserve(passes: number, cost: { readonly flops: number; readonly bytes: number }): void {
    const seconds = Math.max(cost.flops / this.#rates.flops, cost.bytes / this.#rates.bytes);
    const room = this.#profiler ? Math.min(MAX_DISPATCHES, this.#profiler.capacity) : MAX_DISPATCHES;
    if (this.#pending + passes > room || this.#seconds + seconds > MAX_SECONDS) this.submit();
    this.#seconds += seconds;
  }

  dispatch(call: Dispatch): void {
    // A kernel of more passes than the whole arena holds: go on in the next batch.
    if (this.#pending >= MAX_DISPATCHES) this.submit();
    this.#encoder ??= this.#device.createCommandEncoder();
    const at = this.#pending * PARAMETER_BYTES;
    this.#words.set(call.parameters, at / 4);
    this.#offset[0] = at;
    if (this.#profiler) {
      this.#endPass();
      const timestampWrites = this.#profiler.next(call.label);
      this.#pass = this.#encoder.beginComputePass({ label: call.label, timestampWrites });
    }
    this.#pass ??= this.#encoder.beginComputePass();
    if (this.#pipeline !== call.pipeline) {
      this.#pass.setPipeline(call.pipeline);
      this.#pipeline = call.pipeline;
    }
    this.#pass.setBindGroup(0, call.bindGroup, this.#offset, 0, 1);
    this.#pass.dispatchWorkgroups(...call.groups);
    for (const block of call.blocks) block.batch = this.#batch;
    this.#pending++;
    this.dispatches++;
  }

  write(block: Block, offset: number, data: Uint8Array): void {
    if (block.batch === this.#batch) this.submit();
    const whole = data.byteLength & ~3;
    for (let at = 0; at < whole; at += MAX_UPLOAD) {
      const size = Math.min(MAX_UPLOAD, whole - at);
      this.#device.queue.writeBuffer(block.gpu, offset + at, data, at, size);
      this.#uploadedBytes(size);
    }
    if (whole < data.byteLength) {
      // q4_0 and q8_0 rows may end on half a word: the block has room for the other half.
      const tail = new Uint8Array(4);
      tail.set(data.subarray(whole));
      this.#device.queue.writeBuffer(block.gpu, offset + whole, tail);
    }
  }

  #uploadedBytes(size: number): void {
    this.#uploaded += size;
    if (this.#uploaded < MAX_UPLOAD) return;
    this.#uploaded = 0;
    this.#device.queue.submit([]);
  }

  /** Copies `bytes` back, after everything issued before; one submit for the pending work and the copy. */
  async read(block: Block, offset: number, bytes: number): Promise<ArrayBuffer> {
    const size = Math.ceil(bytes / 4) * 4;
    if (size === 0) return new ArrayBuffer(0);
    const room = Math.max(256, 2 ** Math.ceil(Math.log2(size)));
    const free = this.#staging.get(room) ?? [];
    this.#staging.set(room, free);
    let staging: GPUBuffer | undefined;
    let copy: ArrayBuffer;
    try {
      staging = free.pop() ?? this.#makeStaging(room);
      this.#encoder ??= this.#device.createCommandEncoder();
      this.#endPass();
      this.#encoder.copyBufferToBuffer(block.gpu, offset, staging, 0, size);
      this.submit();
      await staging.mapAsync(GPUMapMode.READ, 0, size);
      copy = staging.getMappedRange(0, size).slice(0, bytes);
      staging.unmap();
    } catch (cause) {
      staging?.destroy();
      await this.#faults.settle(); // throws the cause, where it is known
      throw new DeviceError(`webgpu: ${bytes} bytes cannot be read back: ${(cause as Error).message}`, {
        cause,
      });
    }
    free.push(staging);
    await this.#faults.settle();
    return copy;
  }

  #makeStaging(size: number): GPUBuffer {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const made = this.#device.createBuffer({ label: `read-back of ${size} bytes`, size, usage });
    this.stagingBuffers++;
    return made;
  }

  #endPass(): void {
    const pass = this.#pass;
    this.#pass = undefined;
    this.#pipeline = undefined;
    pass?.end();
  }

  /** Sends what is pending, if anything is. A batch that fails on the way is given up: the next one starts afresh. */
  submit(): void {
    const encoder = this.#encoder;
    if (!encoder) return;
    const used = this.#pending * PARAMETER_BYTES;
    this.#encoder = undefined;
    this.#batch++;
    this.#pending = 0;
    this.#seconds = 0;
    this.#uploaded = 0;
    this.#endPass();
    if (used > 0) this.#device.queue.writeBuffer(this.arena, 0, this.#words, 0, used / 4);
    const stamps = this.#profiler?.resolve(encoder);
    this.#device.queue.submit([encoder.finish()]);
    stamps?.();
    this.submits++;
  }

  /** Resolves when all issued work is done; rejects with what went wrong. */
  async finish(): Promise<void> {
    this.submit();
    await this.#device.queue.onSubmittedWorkDone();
    await this.#faults.settle();
  }

  /** Milliseconds and calls by kernel, since the start or the last call; empty without `profile`. */
  async profile(): Promise<ReadonlyMap<string, KernelTime>> {
    await this.finish();
    return (await this.#profiler?.take()) ?? new Map();
  }
}
