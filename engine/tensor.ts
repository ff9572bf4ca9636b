/**
 * A tensor: a shape over a window of device memory. It has no operations of its own: ops are functions (engine/ops).
 * Memory is counted: the tensor holds one reference to its storage, views and the tape hold others; the buffer goes
 * back to the device when the last one is released.
 */
import type { BufferView, Device, DeviceBuffer } from "./device.ts";
import { type DType, byteLength } from "../kernels/base/dtype.ts";
import { DisposedError, ShapeError } from "./errors.ts";
import { type Shape, elements } from "../kernels/base/shape.ts";

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
  readonly length: number;
  /** First element within the storage. */
  readonly offset: number;
  /** Gradients flow to this tensor: it is a parameter, or was computed from one while the tape recorded. */
  requiresGrad = false;
  /** Where a parameter's gradient accumulates; same shape. Null for everything else. */
  grad: Tensor | null = null;
  readonly #storage: Storage;
  readonly #view: BufferView;
  #disposed = false;

  /** Takes over one reference to `storage`. */
  constructor(storage: Storage, shape: Shape, offset = 0) {
    this.#storage = storage;
    this.shape = shape;
    this.dtype = storage.buffer.dtype;
    this.length = elements(shape);
    this.offset = offset;
    this.#view = { buffer: storage.buffer, offset, length: this.length };
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  get storage(): Storage {
    if (this.#disposed) throw new DisposedError(this.#storage.buffer.label);
    return this.#storage;
  }

  get view(): BufferView {
    if (this.#disposed) throw new DisposedError(this.#storage.buffer.label);
    return this.#view;
  }

  /** Another tensor over the same memory (a window of it, or another shape), holding its own reference. */
  alias(shape: Shape = this.shape, offset = 0): Tensor {
    const { device } = this.storage;
    if (offset + elements(shape) > this.length) {
      throw new ShapeError("alias", `[${shape.join(", ")}] at ${offset} exceeds [${this.shape.join(", ")}]`);
    }
    if (!isViewOffset(device, this.dtype, this.offset + offset)) {
      const bytes = 4 * device.viewAlignment;
      throw new ShapeError("alias", `element ${offset} does not begin at a multiple of ${bytes} bytes`);
    }
    return new Tensor(this.storage.retain(), shape, this.offset + offset);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#storage.release();
  }
}

/** May a view begin at this element of a buffer? */
export function isViewOffset(device: Device, dtype: DType, offset: number): boolean {
  return byteLength(dtype, offset) % (4 * device.viewAlignment) === 0;
}

/** Matrices of one width that lie one after the other in memory, as one matrix over it; null if they do not. */
export function joined(tensors: readonly Tensor[]): Tensor | null {
  const [first] = tensors;
  if (!first) return null;
  const { storage, offset } = first;
  const [, width = 1] = first.shape;
  let rows = 0;
  for (const tensor of tensors) {
    const follows = tensor.storage === storage && tensor.offset === offset + rows * width;
    if (!follows || tensor.shape.length !== 2 || tensor.shape[1] !== width) return null;
    rows += tensor.shape[0];
  }
  return new Tensor(storage.retain(), [rows, width], offset);
}
