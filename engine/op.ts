/**
 * The form of a differentiable op: forward, what it saves, and its vector–Jacobian product, side by side. The op runs
 * kernels; recording, accumulation and lifetimes are the tape's business.
 */
import type { Task } from "./task.ts";
import type { Tensor } from "./tensor.ts";

export interface OpSpec<I extends string, A, S extends string> {
  readonly name: string;
  /** Every input; those that the vjp can differentiate are in `differentiable`. What is not is frozen, or no real number. */
  readonly inputs: readonly I[];
  readonly differentiable: readonly I[];
  /**
   * The output takes little work for its size: no later op holds it for the backward, it is made again by `forward` from what
   * was saved, which must hold every input under its name.
   */
  readonly cheap?: boolean;
  forward(
    task: Task,
    inputs: Readonly<Record<I, Tensor>>,
    attributes: A,
  ): { output: Tensor; saved: { readonly [K in S]?: Tensor } };
  /** Cotangents of the inputs that are wanted, given that of the output. May return `dy` itself. */
  vjp(
    task: Task,
    dy: Tensor,
    saved: Readonly<Record<S, Tensor>>,
    attributes: A,
    wants: Readonly<Record<I, boolean>>,
  ): { readonly [K in I]?: Tensor | undefined };
  /** Small shapes and attributes for the gradient check. */
  readonly checks: readonly OpCheck<I, A>[];
}

/** Input shapes of one gradient check; integer inputs come with their values. */
export interface OpCheck<I extends string, A> {
  readonly inputs: { readonly [K in I]: readonly number[] | Int32Array | Float32Array };
  readonly attributes: A;
}

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
  ): Readonly<Record<string, Tensor | undefined>>;
  readonly checks: readonly OpCheck<string, unknown>[];
}

export interface Op<I extends string, A> {
  (task: Task, inputs: Readonly<Record<I, Tensor>>, attributes: A): Tensor;
  readonly spec: AnyOpSpec;
}

export function defineOp<const I extends string, A, const S extends string>(spec: OpSpec<I, A, S>): Op<I, A> {
  const erased = spec as unknown as AnyOpSpec;
  const apply = (task: Task, inputs: Readonly<Record<I, Tensor>>, attributes: A): Tensor => {
    const { output, saved } = erased.forward(task, inputs, attributes);
    task.tape?.record(erased, inputs, output, saved, attributes);
    return output;
  };
  return Object.assign(apply, { spec: erased });
}
