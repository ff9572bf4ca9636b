/**
 * The engine: runs kernels on one device over tensors. It checks shapes against the kernel's declaration, makes the
 * outputs, keeps scopes, counts cost, and holds the tape while one records. It knows no particular kernel.
 */
import type { Kernel, SlotInfo } from "../kernels/kernel.ts";
import type { BufferView, Device, KernelCall } from "./device.ts";
import { type DType, type WeightDType, byteLength, dtypes, isWeightDType } from "../kernels/base/dtype.ts";
import { ShapeError } from "./errors.ts";
import { type Cost, Meter } from "./meter.ts";
import { Replay } from "./replay.ts";
import { Scope } from "./scope.ts";
import {
  type Shape,
  type Slot,
  bindShape,
  checkDType,
  elements,
  resolveShape,
} from "../kernels/base/shape.ts";
import { Tape } from "./tape.ts";
import { Storage, Tensor, isViewOffset, joined } from "./tensor.ts";

type Slots = Readonly<Record<string, Slot>>;
type Numbers<K extends PropertyKey = string> = { readonly [P in K]: number };
type Tensors<S extends Slots> = { readonly [K in keyof S]: Tensor };
type Named<T> = Record<string, T>;

export interface RunOptions<O extends Slots> {
  /** Sizes that no input determines (top_k's K). */
  readonly dims?: Numbers;
  /** Write into these tensors instead of new ones. */
  readonly into?: { readonly [K in keyof O]?: Tensor };
  /** Shape of every flat output (declared with a single symbol) instead of [N]. */
  readonly shape?: Shape;
}

export class Task {
  readonly device: Device;
  readonly meter = new Meter();
  #scope: Scope | null = null;
  #tape: Tape | null = null;
  #capturing: Replay | null = null;

  constructor(device: Device) {
    this.device = device;
  }

  /** A new innermost scope; end it with `using` or Symbol.dispose. */
  scope(): Scope {
    const parent = this.#scope;
    const scope = new Scope(parent, () => {
      this.#scope = parent;
    });
    this.#scope = scope;
    return scope;
  }

  /** Runs `body` in a scope and keeps the tensor that it returns. */
  tidy(body: () => Tensor): Tensor {
    using scope = this.scope();
    return scope.keep(body());
  }

  /** The tape that records, or null. */
  get tape(): Tape | null {
    return this.#tape;
  }

  /** Runs `body` with a new tape recording; the caller ends it with `tape.dispose()` or by walking it backward. */
  record<T>(body: () => T): { result: T; tape: Tape } {
    if (this.#tape) throw new Error("a tape is recording already");
    const tape = new Tape(this);
    this.#tape = tape;
    try {
      return { result: body(), tape };
    } catch (error) {
      tape.dispose();
      throw error;
    } finally {
      this.#tape = null;
    }
  }

  /**
   * Runs `body` and writes down the kernel calls it makes, and holds the memory they use. What the body writes from the host
   * is no part of it. The caller disposes of the replay.
   */
  capture<T>(body: () => T): { result: T; replay: Replay } {
    if (this.#tape || this.#capturing) throw new Error("a tape is recording, or calls are captured already");
    const replay = new Replay((call, cost) => this.#issue(call, cost));
    this.#capturing = replay;
    try {
      return { result: body(), replay };
    } catch (error) {
      replay.dispose();
      throw error;
    } finally {
      this.#capturing = null;
    }
  }

  /** Runs `body` with nothing recorded. */
  unrecorded<T>(body: () => T): T {
    const tape = this.#tape;
    this.#tape = null;
    try {
      return body();
    } finally {
      this.#tape = tape;
    }
  }

  /** A tensor with undefined contents, owned by the innermost scope. */
  empty(shape: Shape, dtype: DType = "f32", label = "tensor"): Tensor {
    const length = elements(shape);
    const { block } = dtypes[dtype];
    const last = shape.at(-1) ?? 1;
    if (last % block !== 0)
      throw new ShapeError(label, `${dtype} rows hold multiples of ${block}, not ${last}`);
    return this.adopt(
      new Tensor(new Storage(this.device, this.device.allocate(dtype, length, label)), shape),
    );
  }

  /** A tensor from host values: f32 or i32/u32 by the array's type. */
  tensor(
    data: Float32Array | Int32Array | Uint32Array,
    shape: Shape = [data.length],
    label = "tensor",
  ): Tensor {
    const dtype = data instanceof Float32Array ? "f32" : data instanceof Int32Array ? "i32" : "u32";
    if (elements(shape) !== data.length)
      throw new ShapeError(label, `[${shape.join(", ")}] from ${data.length} values`);
    const tensor = this.empty(shape, dtype, label);
    this.device.write(tensor.view, data);
    return tensor;
  }

  /** A frozen weight from its storage bytes. */
  weight(bytes: Uint8Array, shape: Shape, dtype: DType, label: string): Tensor {
    checkWeightBytes(bytes, shape, dtype, label);
    const tensor = this.empty(shape, dtype, label);
    this.device.write(tensor.view, bytes);
    return tensor;
  }

  /** The same into a tensor that is there. */
  setWeight(tensor: Tensor, bytes: Uint8Array, label: string): void {
    checkWeightBytes(bytes, tensor.shape, tensor.dtype, label);
    this.device.write(tensor.view, bytes);
  }

  adopt(tensor: Tensor): Tensor {
    this.#capturing?.hold(tensor.storage);
    this.#scope?.adopt(tensor);
    return tensor;
  }

  /** A view that the innermost scope owns; see Tensor.alias. */
  alias(tensor: Tensor, shape: Shape, offset = 0): Tensor {
    return this.adopt(tensor.alias(shape, offset));
  }

  /** Rows [from, to) along the first axis, as a view. */
  rows(tensor: Tensor, from: number, to: number): Tensor {
    const [, ...rest] = tensor.shape;
    return this.alias(tensor, [to - from, ...rest], from * elements(rest));
  }

  /** Matrices of one width as one, where they lie one after the other in memory; else null. */
  joined(tensors: readonly Tensor[]): Tensor | null {
    const all = joined(tensors);
    return all && this.adopt(all);
  }

  /** Can each of the parts of `sizes` elements, one after the other, be a view of one buffer? */
  canDivide(dtype: DType, sizes: readonly number[]): boolean {
    let offset = 0;
    return sizes.every((size) => isViewOffset(this.device, dtype, (offset += size) - size));
  }

  /** Values of a real tensor, after all work issued before. */
  async read(tensor: Tensor): Promise<Float32Array> {
    const bytes = await this.device.read(tensor.view);
    return this.device.info.kind === "reference"
      ? Float32Array.from(new Float64Array(bytes))
      : new Float32Array(bytes);
  }

  async readInts(tensor: Tensor): Promise<Int32Array> {
    return new Int32Array(await this.device.read(tensor.view));
  }

  /**
   * Runs a kernel. Shapes bind the declaration's symbols; a slot of a single symbol takes a tensor of any rank as flat.
   * Returns the outputs by name, owned by the innermost scope.
   */
  run<
    I extends Slots,
    X extends Slots,
    O extends Slots,
    P extends Readonly<Record<string, "f32" | "u32" | "i32">>,
  >(
    kernel: Kernel<I, X, O, P>,
    tensors: Tensors<I & X>,
    params: Numbers<keyof P>,
    options?: RunOptions<O>,
  ): { readonly [K in keyof O]: Tensor } {
    const dims = { ...kernel.blank.dims, ...options?.dims } as unknown as Named<number>;
    const given: Readonly<Named<Tensor>> = tensors;
    const into: Readonly<Named<Tensor | undefined>> | undefined = options?.into;
    const slots = { ...kernel.blank.slots } as unknown as Named<BufferView>;
    const outputs: Named<Tensor> = {};
    let weight: WeightDType = "f32";
    for (const slot of kernel.slots) {
      const tensor = slot.role === "output" ? into?.[slot.name] : given[slot.name];
      if (tensor) {
        bindTensor(slot, tensor, dims);
        slots[slot.name] = tensor.view;
        if (slot.name === kernel.weightSlot && isWeightDType(tensor.dtype)) weight = tensor.dtype;
      } else if (slot.role !== "output")
        throw new ShapeError(kernel.name, `${slot.role} ${slot.name} is missing`);
    }
    for (const slot of kernel.slots) {
      if (slot.role !== "output") continue;
      let tensor = into?.[slot.name];
      if (!tensor) {
        const flat = slot.dims.length === 1 ? options?.shape : undefined;
        const dtype = slot.dtype === "weight" ? "f32" : slot.dtype;
        tensor = this.empty(flat ?? resolveShape(slot.label, slot, dims), dtype, slot.label);
        if (flat) bindTensor(slot, tensor, dims);
        slots[slot.name] = tensor.view;
      }
      outputs[slot.name] = tensor;
    }
    const call: KernelCall = { kernel, slots, dims, params };
    const cost = call.kernel.spec.cost(dims, params, weight);
    this.#capturing?.add(call, weight, cost);
    this.#issue(call, cost);
    return outputs as { readonly [K in keyof O]: Tensor };
  }

  #issue(call: KernelCall, cost: Cost): void {
    this.meter.add(call.kernel.name, cost);
    this.device.run(call);
  }
}

/** Checks a tensor against its slot and binds the slot's symbols. */
function bindTensor(slot: SlotInfo, tensor: Tensor, dims: Record<string, number>): void {
  checkDType(slot.label, slot, tensor.dtype);
  const flat = slot.dims.length === 1 && tensor.shape.length !== 1;
  bindShape(slot.label, slot, flat ? [tensor.length] : tensor.shape, dims);
}

function checkWeightBytes(bytes: Uint8Array, shape: Shape, dtype: DType, label: string): void {
  if (!isWeightDType(dtype) || bytes.byteLength !== byteLength(dtype, elements(shape)))
    throw new ShapeError(label, `${bytes.byteLength} bytes do not hold ${dtype}[${shape.join(", ")}]`);
}
