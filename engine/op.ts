/**
 * The form of a differentiable op: forward, what it saves, and its vector–Jacobian product, side by side. The op runs
 * kernels; recording, accumulation and lifetimes are the tape's business. It is called with its tensors in declared order and
 * its attributes last: `rmsNorm(x, g, { eps: 1e-5 })`; it works for the task that the tensors belong to.
 */
import { at } from "../kernels/base/at.ts";
import { DTypeError, ShapeError } from "./errors.ts";
import { type AnyOpSpec, type Task, taskOf } from "./task.ts";
import type { Shape } from "../kernels/base/shape.ts";
import type { Tensor } from "./tensor.ts";

export interface OpSpec<I extends readonly string[], A, S extends string> {
  readonly name: string;
  /** Every input; those with a gradient are in `differentiable`. The others are frozen weights or integers. */
  readonly inputs: I;
  readonly differentiable: readonly I[number][];
  /**
   * The output takes little work for its size: instead of holding it for the backward of later ops, the tape makes it again by
   * `forward` from what was saved, which must hold every input under its name.
   */
  readonly cheap?: boolean;
  forward(
    task: Task,
    inputs: Readonly<Record<I[number], Tensor>>,
    attributes: A,
  ): { output: Tensor; saved: { readonly [K in S]?: Tensor } };
  /** Cotangents of the inputs for which `wants` is true, from the output's, `dy`. May return `dy` itself. */
  vjp(
    task: Task,
    dy: Tensor,
    saved: Readonly<Record<S, Tensor>>,
    attributes: A,
    wants: Readonly<Record<I[number], boolean>>,
    shapes: Readonly<Record<I[number], Shape>>,
  ): { readonly [K in I[number]]?: Tensor | undefined };
  /** Small shapes and attributes for the gradient check. */
  readonly checks: readonly OpCheck<I[number], A>[];
}

/** Input shapes of one gradient check; integer inputs come with their values. */
export interface OpCheck<I extends string, A> {
  readonly inputs: { readonly [K in I]: readonly number[] | Int32Array | Float32Array };
  readonly attributes: A;
}

/** An op's specification as generated tests see it. */
export interface CheckedOpSpec extends AnyOpSpec {
  readonly checks: readonly OpCheck<string, unknown>[];
}

export type Positional<I extends readonly string[]> = { readonly [K in keyof I]: Tensor };
/** Attributes come last; an op that has none takes none. */
export type Attributes<A> = object extends A ? [attributes?: A] : [attributes: A];

export interface Op<I extends readonly string[], A> {
  (...args: [...tensors: Positional<I>, ...Attributes<A>]): Tensor;
  readonly spec: CheckedOpSpec;
}

export function defineOp<const I extends readonly string[], A, const S extends string>(
  spec: OpSpec<I, A, S>,
): Op<I, A> {
  const erased = spec as unknown as CheckedOpSpec;
  const apply = (...args: readonly unknown[]): Tensor => {
    const tensors = args.slice(0, spec.inputs.length) as Tensor[];
    return applyOp(erased, tensors, args[spec.inputs.length] ?? {});
  };
  return Object.assign(apply as unknown as (...args: never) => Tensor, { spec: erased }) as Op<I, A>;
}

/** Puts the op and its inputs before what a kernel says of its slots. */
function named<T>(name: string, tensors: readonly Tensor[], run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof ShapeError || error instanceof DTypeError)) throw error;
    const inputs = tensors.map(({ dtype, shape }) => `${dtype}[${shape.join(", ")}]`).join(", ");
    error.message = `${name}(${inputs}): ${error.message}`;
    throw error;
  }
}

/** Runs an op that is known by its specification alone. */
export function applyOp(spec: AnyOpSpec, tensors: readonly Tensor[], attributes: unknown): Tensor {
  const task = taskOf(spec.name, tensors);
  const inputs: Record<string, Tensor> = {};
  for (const [i, name] of spec.inputs.entries()) inputs[name] = at(tensors, i);
  const { output, saved } = named(spec.name, tensors, () =>
    task.op(() => spec.forward(task, inputs, attributes)),
  );
  task.recorder?.record(spec, inputs, output, saved, attributes);
  return output;
}
