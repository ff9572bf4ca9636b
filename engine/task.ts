/**
 * A task: the owner of one computation on a device — a text that is read, a training loop, a script. It has the scopes that its
 * tensors live in, the tape that records and the capture in progress, and counts the cost. Any number of tasks share a device;
 * a tensor belongs to one of them (or to none, as weights do), and an op works for the task of its tensors.
 *
 * `run` checks shapes against the kernel's declaration and makes the outputs; it knows no particular kernel.
 */
import { at } from "../kernels/base/at.ts";
import type { Kernel, SlotInfo } from "../kernels/kernel.ts";
import type { BufferView, Device, KernelCall } from "./device.ts";
import { type DType, type WeightDType, isWeightDType } from "../kernels/base/dtype.ts";
import { ShapeError } from "./errors.ts";
import { Meter } from "./meter.ts";
import { queueOf } from "./queue.ts";
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
import { type Owner, Storage, Tensor, allocateBuffer, joined } from "./tensor.ts";

export type Slots = Readonly<Record<string, Slot>>;
export type Numbers<K extends PropertyKey = string> = { readonly [P in K]: number };
export type Tensors<S extends Slots> = { readonly [K in keyof S]: Tensor };
export type Named<T> = Record<string, T>;

/** Numbers in nested arrays: [[1, 2], [3, 4]]. */
export type Nested = number | readonly Nested[];

export interface RunOptions<O extends Slots> {
  /** Sizes that no input determines (top_k's K). */
  readonly dims?: Numbers;
  /** Write into these tensors instead of new ones. */
  readonly into?: { readonly [K in keyof O]?: Tensor };
}

/** An op whose inputs and attributes are not known to the type system: what a tape records. See op.ts. */
export interface AnyOpSpec {
  readonly name: string;
  readonly inputs: readonly string[];
  readonly differentiable: readonly string[];
  readonly cheap?: boolean;
  forward(
    task: Task,
    inputs: Readonly<Record<string, Tensor>>,
    attributes: unknown,
  ): { output: Tensor; saved: Readonly<Record<string, Tensor>> };
  vjp(
    task: Task,
    dy: Tensor,
    saved: Readonly<Record<string, Tensor>>,
    attributes: unknown,
    wants: Readonly<Record<string, boolean>>,
    shapes: Readonly<Record<string, Shape>>,
  ): Readonly<Record<string, Tensor | undefined>>;
}

/** A tape, as the task sees it: called with every op that runs while it records. */
export interface Recorder {
  record(
    op: AnyOpSpec,
    inputs: Readonly<Record<string, Tensor>>,
    output: Tensor,
    saved: Readonly<Record<string, Tensor>>,
    attributes: unknown,
    live?: boolean,
  ): void;
}

export class Task implements Owner, Disposable {
  readonly device: Device;
  readonly meter = new Meter();
  /** The outermost scope: what it owns lives as long as the task. */
  readonly #root: Scope;
  #scope: Scope;
  #recorder: Recorder | null = null;
  #capturing: Replay | null = null;
  /** How many ops are running, one inside the other. */
  #ops = 0;

  constructor(device: Device) {
    this.device = device;
    this.#root = new Scope(null, (scope) => this.#end(scope));
    this.#scope = this.#root;
  }

  /** A new innermost scope; end it with `using` or Symbol.dispose, before those around it. */
  scope(): Scope {
    this.#scope = new Scope(this.#scope, (scope) => this.#end(scope));
    return this.#scope;
  }

  #end(scope: Scope): void {
    if (scope !== this.#scope) {
      throw new Error(
        "a scope ends out of order: one inside it is still open, or it has ended already. Work that runs at the same time needs tasks of its own",
      );
    }
    if (scope.parent) this.#scope = scope.parent;
  }

  /** Runs `body` in a scope and keeps the tensor that it returns. */
  tidy(body: () => Tensor): Tensor {
    using scope = this.scope();
    return scope.keep(body());
  }

  /** Runs a unit of work when the device is free, and counts its time; units of all the device's tasks take turns (queue.ts). */
  unit<T>(work: () => Promise<T>): Promise<T> {
    return queueOf(this.device).run(() => this.meter.timed(work));
  }

  /** Frees everything that the task still owns. */
  dispose(): void {
    this.#root[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The tape that records, or null. */
  get recorder(): Recorder | null {
    return this.#recorder;
  }

  /** Runs `body` while `recorder` records, or with nothing recorded. `record` in tape.ts makes the tape. */
  recording<T>(recorder: Recorder | null, body: () => T): T {
    const before = this.#recorder;
    if (recorder && before) throw new Error("a tape is recording already");
    this.#recorder = recorder;
    try {
      return body();
    } finally {
      this.#recorder = before;
    }
  }

  /** Runs the forward of an op. Inside, kernels and views may take tensors that need a gradient: the op itself is recorded. */
  op<T>(forward: () => T): T {
    this.#ops++;
    try {
      return forward();
    } finally {
      this.#ops--;
    }
  }

  /**
   * Runs `body`, writes down the kernel calls it makes and holds the memory they use. Writes from the host are not captured.
   * The caller disposes of the replay.
   */
  capture<T>(body: () => T): { result: T; replay: Replay } {
    if (this.#recorder || this.#capturing)
      throw new Error("a tape is recording, or calls are captured already");
    const replay = new Replay(this.device, this.meter);
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

  /** A tensor with undefined contents, owned by the innermost scope. */
  empty(shape: Shape, dtype: DType = "f32", label = "tensor"): Tensor {
    return this.adopt(this.lasting(shape, dtype, label));
  }

  /** The same, owned by no scope: the caller disposes of it. */
  lasting(shape: Shape, dtype: DType, label: string): Tensor {
    const buffer = allocateBuffer(this.device, shape, dtype, label);
    return new Tensor(new Storage(this.device, buffer), shape, 0, this);
  }

  /** A tensor from host values: i32 or u32 from such an array, else f32; nested arrays bring their shape. */
  tensor(
    data: Float32Array | Int32Array | Uint32Array | Nested,
    shape: Shape = ArrayBuffer.isView(data) ? [data.length] : shapeOf(data),
    label = "tensor",
  ): Tensor {
    const values = ArrayBuffer.isView(data) ? data : Float32Array.from(flat(data, shapeOf(data)));
    const dtype = values instanceof Float32Array ? "f32" : values instanceof Int32Array ? "i32" : "u32";
    if (elements(shape) !== values.length)
      throw new ShapeError(label, `[${shape.join(", ")}] from ${values.length} values`);
    const tensor = this.empty(shape, dtype, label);
    this.device.write(tensor.view, values);
    return tensor;
  }

  /** Makes the innermost scope the owner of `tensor`. */
  adopt(tensor: Tensor): Tensor {
    this.#scope.adopt(tensor);
    return tensor;
  }

  /** A view that the innermost scope owns, of this task if the tensor is nobody's; see Tensor.alias. In a recorded computation, use the op `reshape`. */
  alias(tensor: Tensor, shape: Shape, offset = 0): Tensor {
    this.#assertRecorded("a view", [tensor]);
    return this.adopt(tensor.alias(shape, offset, tensor.owner ?? this));
  }

  /** Rows [from, to) along the first axis, as a view. In a recorded computation, use the op `rows`. */
  rows(tensor: Tensor, from: number, to: number): Tensor {
    const [, ...rest] = tensor.shape;
    return this.alias(tensor, [to - from, ...rest], from * elements(rest));
  }

  /** Matrices [rows, width] that lie one after the other in memory as one matrix; null where they do not. */
  joined(tensors: readonly Tensor[]): Tensor | null {
    this.#assertRecorded("a view", tensors);
    const all = joined(tensors);
    return all && this.adopt(all);
  }

  /**
   * Runs a kernel. Shapes bind the declaration's symbols; a slot of a single symbol takes a tensor of any rank as flat, and then
   * all such tensors of that symbol have one shape, outputs included. Returns the outputs by name, owned by the innermost scope.
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
    const shapes: Named<Shape> = {};
    const given: Readonly<Named<Tensor>> = tensors;
    const into: Readonly<Named<Tensor | undefined>> | undefined = options?.into;
    const slots = { ...kernel.blank.slots } as unknown as Named<BufferView>;
    const outputs: Named<Tensor> = {};
    const used: Tensor[] = [];
    let weight: WeightDType = "f32";
    for (const slot of kernel.slots) {
      const tensor = slot.role === "output" ? into?.[slot.name] : given[slot.name];
      if (tensor) {
        bindTensor(slot, tensor, dims, shapes);
        slots[slot.name] = tensor.view;
        used.push(tensor);
        if (slot.name === kernel.weightSlot && isWeightDType(tensor.dtype)) weight = tensor.dtype;
      } else if (slot.role !== "output")
        throw new ShapeError(kernel.name, `${slot.role} ${slot.name} is missing`);
    }
    this.#assertRecorded(kernel.name, used);
    for (const slot of kernel.slots) {
      if (slot.role !== "output") continue;
      let tensor = into?.[slot.name];
      if (!tensor) {
        const shape =
          (slot.dims.length === 1 && shapes[at(slot.dims, 0)]) || resolveShape(slot.label, slot, dims);
        tensor = this.empty(shape, slot.dtype === "weight" ? "f32" : slot.dtype, slot.label);
        slots[slot.name] = tensor.view;
        used.push(tensor);
      }
      outputs[slot.name] = tensor;
    }
    const call: KernelCall = { kernel, slots, dims, params };
    const cost = call.kernel.spec.cost(dims, params, weight);
    this.#capturing?.add(call, weight, cost, used);
    this.meter.add(kernel.name, cost);
    this.device.run(call);
    return outputs as { readonly [K in keyof O]: Tensor };
  }

  /** While a tape records, tensors that need a gradient go through ops only: anything else would cut the graph unnoticed. */
  #assertRecorded(what: string, tensors: readonly Tensor[]): void {
    if (!this.#recorder || this.#ops > 0) return;
    const cut = tensors.find((tensor) => tensor.requiresGrad);
    if (cut) throw new Error(`${what} of ${cut.toString()} is not recorded: use an op, or stop recording`);
  }
}

/** The task of these tensors. Throws when they belong to two, or none belongs to any. */
export function taskOf(where: string, tensors: readonly Tensor[]): Task {
  let task: Task | null = null;
  for (const { owner } of tensors) {
    if (!(owner instanceof Task)) continue;
    if (task && owner !== task)
      throw new Error(`${where}: its tensors belong to two tasks; read one to the host and make it anew`);
    task = owner;
  }
  if (!task) throw new Error(`${where}: none of its tensors belongs to a task; make one with task.tensor()`);
  return task;
}

/** Checks a tensor against its slot and binds the slot's symbols. */
function bindTensor(
  slot: SlotInfo,
  tensor: Tensor,
  dims: Record<string, number>,
  shapes: Record<string, Shape>,
): void {
  checkDType(slot.label, slot, tensor.dtype);
  if (slot.dims.length !== 1) return bindShape(slot.label, slot, tensor.shape, dims);
  bindShape(slot.label, slot, [tensor.length], dims);
  const symbol = at(slot.dims, 0);
  shapes[symbol] ??= tensor.shape;
  const shape = shapes[symbol];
  if (shape.length !== tensor.shape.length || shape.some((size, axis) => size !== tensor.shape[axis]))
    throw new ShapeError(
      slot.label,
      `[${tensor.shape.join(", ")}] beside [${shape.join(", ")}]; expected one shape`,
    );
}

function shapeOf(data: Nested): number[] {
  const shape: number[] = [];
  for (let part: Nested | undefined = data; part !== undefined && typeof part !== "number"; part = part[0])
    shape.push(part.length);
  return shape;
}

function* flat(data: Nested, shape: Shape): Generator<number> {
  const [size, ...rest] = shape;
  if (typeof data === "number" ? size !== undefined : data.length !== size)
    throw new ShapeError("tensor", "nested arrays of different lengths");
  if (typeof data === "number") yield data;
  else for (const part of data) yield* flat(part, rest);
}
