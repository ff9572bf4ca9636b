/** What an update of an adapter changes, on the host and on the device: values and moments, in the layout of the parameters' flat buffer. */
import { BadInputError } from "../engine/errors.ts";
import type { Optimizer } from "../engine/optim/optimizer.ts";
import type { Parameters } from "../engine/parameters.ts";
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { copy } from "../kernels/copy/copy.ts";

/** [N] each; v is empty where the optimiser has no second moments. */
export interface TrainingState {
  /** Optimiser steps taken. */
  readonly steps: number;
  readonly values: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

const names = ["values", "m", "v"] as const;
/** Its arrays on the device. */
export type TrainingArrays = Readonly<Record<(typeof names)[number], Tensor | null>>;

/** Those arrays, each made by `make` where `like` has one. */
export function arraysLike(like: TrainingArrays, make: (name: string) => Tensor): TrainingArrays {
  const one = (name: keyof TrainingArrays): Tensor | null => like[name] && make(name);
  return { values: one("values"), m: one("m"), v: one("v") };
}

export const arraysOf = ({ values }: Parameters, { m, v }: Optimizer): TrainingArrays => ({ values, m, v });

export async function stateOf(arrays: TrainingArrays, steps: number): Promise<TrainingState> {
  const array = async (name: keyof TrainingArrays): Promise<Float32Array> =>
    (await arrays[name]?.data()) ?? new Float32Array();
  return { steps, values: await array("values"), m: await array("m"), v: await array("v") };
}

/** Writes a state into arrays that it fits. */
export function writeState(task: Task, state: TrainingState, arrays: TrainingArrays): void {
  for (const name of names) {
    const array = arrays[name];
    if (array) task.device.write(array.view, state[name]);
  }
}

export function copyState(task: Task, from: TrainingArrays, to: TrainingArrays): void {
  for (const name of names) {
    const [x, y] = [from[name], to[name]];
    if (x && y) task.run(copy, { x, y }, { from: 0, to: 0, count: x.length });
  }
}

/** Throws where a state is not one of these arrays'. */
export function assertFits(state: TrainingState, arrays: TrainingArrays): void {
  const expected = arrays.values?.length ?? 0;
  if (state.values.length !== expected)
    throw new BadInputError(`the state holds ${state.values.length} values, this adapter ${expected}`);
  for (const name of names)
    if (state[name].length !== (arrays[name]?.length ?? 0))
      throw new BadInputError("the state's values and moments do not fit together: it is damaged");
}
