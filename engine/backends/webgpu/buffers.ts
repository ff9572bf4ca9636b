/**
 * GPU memory: a pool of buffers by size class. `free` returns a block to the pool, where the next `allocate` of its
 * class takes it; that is safe while commands are still pending, because everything is ordered (writes: queue.ts).
 *
 * A class always hands out its oldest free block, so that the same sequence of allocations and frees, token after token,
 * meets the same blocks: bind groups are found again instead of made.
 */
import { type DType, byteLength } from "../../../kernels/base/dtype.ts";
import { DeviceError, DisposedError } from "../../errors.ts";
import { BackendBuffer, checkBuffer } from "../common.ts";
import type { Faults } from "./faults.ts";

/** One GPUBuffer of the pool. */
export interface Block {
  /** Never given twice: the identity in bind-group keys. */
  readonly id: number;
  readonly gpu: GPUBuffer;
  readonly size: number;
  /** The batch of commands that used it last (queue.ts). */
  batch: number;
  /** It has no memory: destroyed, or refused by the device. */
  gone: boolean;
}

export class WebGpuBuffer extends BackendBuffer {
  #block: Block | undefined;

  constructor(dtype: DType, length: number, label: string, block: Block) {
    super(dtype, length, label);
    this.#block = block;
  }

  get block(): Block {
    if (!this.#block) throw new DisposedError(this.label);
    return this.#block;
  }

  /** Gives the block up. */
  release(): Block {
    const block = this.block;
    this.#block = undefined;
    return block;
  }
}

/** Eight classes an octave: at most 12.5 % of a buffer is unused. */
function sizeClass(bytes: number): number {
  const step = Math.max(256, 2 ** (Math.ceil(Math.log2(bytes)) - 4));
  return Math.max(1, Math.ceil(bytes / step)) * step;
}

/** Bytes that the pool may hold beyond 1.5 times the peak of live memory. */
const SLACK = 64 * 2 ** 20;

export class BufferPool {
  readonly #device: GPUDevice;
  readonly #faults: Faults;
  /** Called before blocks are destroyed: pending commands may still name them, and so may bind groups. */
  readonly #beforeDestroy: () => void;
  /** Free blocks by size, oldest (lowest id) first. */
  readonly #free = new Map<number, Block[]>();
  #nextId = 1;
  #heldBytes = 0;
  liveBuffers = 0;
  liveBytes = 0;
  peakBytes = 0;
  /** GPUBuffers made. */
  allocations = 0;

  constructor(device: GPUDevice, faults: Faults, beforeDestroy: () => void) {
    this.#device = device;
    this.#faults = faults;
    this.#beforeDestroy = beforeDestroy;
  }

  allocate(dtype: DType, length: number, label: string): WebGpuBuffer {
    const bytes = byteLength(dtype, length);
    const limit = this.#device.limits.maxBufferSize;
    checkBuffer(label, bytes, limit);
    const size = sizeClass(bytes) > limit ? Math.ceil(bytes / 4) * 4 : sizeClass(bytes);
    const block = this.#freeOf(size).shift() ?? this.#create(size, label);
    this.liveBuffers++;
    this.liveBytes += block.size;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    return new WebGpuBuffer(dtype, length, label, block);
  }

  free(buffer: WebGpuBuffer): void {
    const block = buffer.release();
    this.liveBuffers--;
    this.liveBytes -= block.size;
    if (block.gone) return;
    const list = this.#freeOf(block.size);
    list.splice(list.findLastIndex(({ id }) => id < block.id) + 1, 0, block);
  }

  /** Free blocks of a size, oldest first. */
  #freeOf(size: number): Block[] {
    const list = this.#free.get(size) ?? [];
    this.#free.set(size, list);
    return list;
  }

  #create(size: number, label: string): Block {
    // The free part is bounded; the largest classes are freed first.
    if (this.#heldBytes + size > 1.5 * Math.max(this.peakBytes, this.liveBytes + size) + SLACK)
      this.#trim(size);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const refused = (message: string): string =>
      `${label}: cannot allocate ${size} bytes (${this.#heldBytes} held already): ${message}`;
    let block: Block | undefined;
    const make = (): GPUBuffer => this.#device.createBuffer({ size, usage, label });
    try {
      const gpu = this.#faults.guard(["out-of-memory", "validation"], make, (message) => {
        if (block) this.#strike(block);
        return refused(message);
      });
      block = { id: this.#nextId++, gpu, size, batch: -1, gone: false };
    } catch (cause) {
      throw new DeviceError(refused((cause as Error).message), { cause });
    }
    this.#heldBytes += size;
    this.allocations++;
    return block;
  }

  /** Takes a block out of what the pool holds, and out of what it may hand out. */
  #strike(block: Block): void {
    if (block.gone) return;
    block.gone = true;
    this.#heldBytes -= block.size;
    const list = this.#freeOf(block.size);
    const at = list.indexOf(block);
    if (at >= 0) list.splice(at, 1);
  }

  /** Destroys free blocks until `wanted` bytes are given back, or none is left. */
  #trim(wanted: number): void {
    this.#beforeDestroy();
    let given = 0;
    for (const size of [...this.#free.keys()].sort((a, b) => b - a)) {
      while (given < wanted) {
        const block = this.#freeOf(size).at(-1);
        if (!block) break;
        this.#strike(block);
        block.gpu.destroy();
        given += size;
      }
    }
  }
}
