/**
 * A tensor: a shape over a part of device memory. Its operations are functions (engine/ops); fluent.ts puts some of them
 * behind a dot. Memory is counted: the tensor holds one reference to its storage, views and the tape hold others; the buffer
 * goes back to the device when the last one is released.
 */
import { at } from "../kernels/base/at.ts";
import type { BufferView, Device, DeviceBuffer } from "./device.ts";
import { type DType, byteLength, dtypes } from "../kernels/base/dtype.ts";
import { DTypeError, DisposedError, ShapeError } from "./errors.ts";
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
    this.#references--;
    if (this.#references === 0) this.device.free(this.buffer);
  }
}

/** A task, as its tensors see it (task.ts). */
export interface Owner {
  readonly device: Device;
}

export class Tensor implements Disposable {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly length: number;
  /** First element within the storage. */
  readonly offset: number;
  /** The task that made it; null for what tasks share, such as weights, which whoever allocated them disposes of. */
  readonly owner: Owner | null;
  /** Gradients flow to this tensor: it is a parameter, or was computed from one while the tape recorded. */
  requiresGrad = false;
  /** Where a parameter's gradient accumulates; same shape. Null for everything else. */
  grad: Tensor | null = null;
  readonly #storage: Storage;
  readonly #view: BufferView;
  #disposed = false;

  /** Takes over one reference to `storage`. */
  constructor(storage: Storage, shape: Shape, offset = 0, owner: Owner | null = null) {
    this.#storage = storage;
    this.shape = shape;
    this.dtype = storage.buffer.dtype;
    this.length = elements(shape);
    this.offset = offset;
    this.owner = owner;
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

  /** Another tensor over the same memory (a part of it, or another shape), holding its own reference; no scope frees it. */
  alias(shape: Shape = this.shape, offset = 0, owner = this.owner): Tensor {
    const { device } = this.storage;
    assertSizes("alias", shape);
    if (!Number.isInteger(offset) || offset < 0 || offset + elements(shape) > this.length) {
      throw new ShapeError("alias", `[${shape.join(", ")}] at ${offset} exceeds [${this.shape.join(", ")}]`);
    }
    if (!isViewOffset(device, this.dtype, this.offset + offset)) {
      const bytes = 4 * device.viewAlignment;
      throw new ShapeError("alias", `element ${offset} does not begin at a multiple of ${bytes} bytes`);
    }
    return new Tensor(this.storage.retain(), shape, this.offset + offset, owner);
  }

  /** The values of an f32 tensor in row-major order, after all work issued before. */
  async data(): Promise<Float32Array<ArrayBuffer>> {
    if (this.dtype !== "f32") throw new DTypeError(this.view.buffer.label, "f32", this.dtype);
    const { device } = this.storage;
    const bytes = await device.read(this.view);
    return device.info.kind === "reference"
      ? Float32Array.from(new Float64Array(bytes))
      : new Float32Array(bytes);
  }

  /** The values of an i32 tensor. */
  async ints(): Promise<Int32Array<ArrayBuffer>> {
    if (this.dtype !== "i32") throw new DTypeError(this.view.buffer.label, "i32", this.dtype);
    return new Int32Array(await this.storage.device.read(this.view));
  }

  /** The value of a tensor of one element. */
  async item(): Promise<number> {
    if (this.length !== 1)
      throw new ShapeError("item", `[${this.shape.join(", ")}] holds ${this.length} values`);
    return at(this.dtype === "i32" ? await this.ints() : await this.data(), 0);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#storage.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    const { device, buffer } = this.#storage;
    const state = this.#disposed ? ", disposed of" : this.requiresGrad ? ", requires a gradient" : "";
    return `Tensor ${this.dtype}[${this.shape.join(", ")}] "${buffer.label}" on ${device.info.kind}${state}`;
  }

  /** What console.log prints under Node. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

/** Memory of its own for a tensor that no task owns: its contents are undefined, and the caller disposes of it. */
export function allocate(device: Device, shape: Shape, dtype: DType, label: string): Tensor {
  return new Tensor(new Storage(device, allocateBuffer(device, shape, dtype, label)), shape);
}

/** A buffer for a tensor of this shape. Throws ShapeError when block formats do not divide its rows. */
export function allocateBuffer(device: Device, shape: Shape, dtype: DType, label: string): DeviceBuffer {
  assertSizes(label, shape);
  const { block } = dtypes[dtype];
  const last = shape.at(-1) ?? 1;
  if (last % block !== 0)
    throw new ShapeError(label, `${dtype} rows hold multiples of ${block}, not ${last}`);
  return device.allocate(dtype, elements(shape), label);
}

/** A shape is of whole numbers, none below 0. */
function assertSizes(label: string, shape: Shape): void {
  for (const size of shape)
    if (!Number.isInteger(size) || size < 0)
      throw new ShapeError(label, `[${shape.join(", ")}] is no shape: sizes are whole numbers, at least 0`);
}

/** May a view begin at this element of a buffer? */
function isViewOffset(device: Device, dtype: DType, offset: number): boolean {
  return byteLength(dtype, offset) % (4 * device.viewAlignment) === 0;
}

/** Can each of the parts of `sizes` elements, one after the other, be a view of one buffer? */
export function canDivide(device: Device, dtype: DType, sizes: readonly number[]): boolean {
  let offset = 0;
  for (const size of sizes) {
    if (!isViewOffset(device, dtype, offset)) return false;
    offset += size;
  }
  return true;
}

/** Matrices of one width that lie one after the other in memory, as one matrix over it; null if they do not. */
export function joined(tensors: readonly Tensor[]): Tensor | null {
  const [first] = tensors;
  if (!first) return null;
  const { storage, offset } = first;
  const [, width] = first.shape;
  if (width === undefined) return null;
  let rows = 0;
  for (const tensor of tensors) {
    const follows = tensor.storage === storage && tensor.offset === offset + rows * width;
    if (!follows || tensor.shape.length !== 2 || tensor.shape[1] !== width) return null;
    rows += at(tensor.shape, 0);
  }
  return new Tensor(storage.retain(), [rows, width], offset, first.owner);
}
