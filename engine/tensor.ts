/**
 * A tensor: a shape over a window of device memory. It has no operations of its own: ops are functions (engine/ops).
 * Memory is counted: the tensor holds one reference to its storage, views and the tape hold others; the buffer goes
 * back to the device when the last one is released.
 */
import type { BufferView, Device, DeviceBuffer } from "./device.ts";
import type { DType } from "./dtype.ts";
import { DisposedError, ShapeError } from "./errors.ts";
import { type Shape, elements } from "./shape.ts";

/** Reference-counted device memory. */
export class Storage {
  readonly device: Device;
  readonly buffer: DeviceBuffer;
  #references = 1;

  constructor(device: Device, buffer: DeviceBuffer) {
    this.device = device;
    this.buffer = buffer;
  }

  get references(): number {
    return this.#references;
  }

  retain(): this {
    if (this.#references === 0) throw new DisposedError(this.buffer.label);
    this.#references++;
    return this;
  }

  release(): void {
    if (this.#references === 0) throw new DisposedError(this.buffer.label);
    if (--this.#references === 0) this.device.free(this.buffer);
  }
}

export class Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  /** First element within the storage. */
  readonly offset: number;
  /** Gradients flow to this tensor: it is a parameter, or was computed from one while the tape recorded. */
  requiresGrad = false;
  /** Where a parameter's gradient accumulates; same shape. Null for everything else. */
  grad: Tensor | null = null;
  readonly #storage: Storage;
  #disposed = false;

  /** Takes over one reference to `storage`. */
  constructor(storage: Storage, shape: Shape, offset = 0) {
    this.#storage = storage;
    this.shape = shape;
    this.dtype = storage.buffer.dtype;
    this.offset = offset;
  }

  get length(): number {
    return elements(this.shape);
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  get storage(): Storage {
    if (this.#disposed) throw new DisposedError(this.#storage.buffer.label);
    return this.#storage;
  }

  get view(): BufferView {
    return { buffer: this.storage.buffer, offset: this.offset, length: this.length };
  }

  /** Another tensor over the same memory (a window of it, or another shape), holding its own reference. */
  alias(shape: Shape = this.shape, offset = 0): Tensor {
    const { device } = this.storage;
    if (offset + elements(shape) > this.length) {
      throw new ShapeError("alias", `[${shape.join(", ")}] at ${offset} exceeds [${this.shape.join(", ")}]`);
    }
    if ((this.offset + offset) % device.viewAlignment !== 0) {
      throw new ShapeError("alias", `offset ${offset} is not a multiple of ${device.viewAlignment} elements`);
    }
    return new Tensor(this.storage.retain(), shape, this.offset + offset);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#storage.release();
  }
}
