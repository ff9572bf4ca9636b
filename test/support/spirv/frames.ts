/** What running functions of a shader is made of: frames of values, steps that change them, and where lanes wait for each other. */
import { at } from "../../../kernels/base/at.ts";
import type { CheckedMemory, Lane } from "./memory.ts";
import type { Value } from "./module.ts";

/** A lane that runs. */
export interface Running extends Lane {
  /** By the variable's id. */
  readonly memories: ReadonlyMap<number, CheckedMemory>;
  readonly inputs: ReadonlyMap<number, Value>;
  readonly report: (finding: string) => void;
}

export type Frame = Value[];
export type Step = (frame: Frame, lane: Running) => void;
/** Slot of a frame. */
export type Slot = number;

export interface Barrier {
  readonly id: object;
  readonly semantics: number;
}
/** Steps, and what other code must run after them. */
export interface Part {
  readonly steps: Step[];
  after?: Barrier | { readonly callee: number; readonly args: readonly Slot[]; readonly into: Slot };
}
export interface Block {
  readonly parts: readonly Part[];
  /** The next block's label; undefined: the function returns. */
  readonly next: (frame: Frame) => number | undefined;
}
export interface Compiled {
  readonly template: Frame;
  readonly parameters: readonly Slot[];
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, Block>;
}

/** Where the value that a function returns lies in its frame, and the number of blocks that it has gone through. */
export const RESULT: Slot = 0;
export const TURNS: Slot = 1;
/** Operands that are not there. */
export const NOTHING: Slot = 2;
/** No shader here takes as many blocks a lane. */
export const MOST_BLOCKS = 5_000_000;

/** A call of a function in which no lane waits for others. */
export function straight(fn: Compiled, args: readonly Value[], lane: Running): Value {
  const frame = begin(fn, args);
  for (let block: Block | undefined = first(fn); block; block = following(fn, block, frame))
    for (const { steps } of block.parts) for (const step of steps) step(frame, lane);
  return frame[RESULT] ?? 0;
}

export const valuesOf = (slots: readonly Slot[], frame: Frame): Value[] =>
  slots.map((slot) => at(frame, slot));

export function known<T>(table: ReadonlyMap<number, T>, id: number): T {
  const found = table.get(id);
  if (found === undefined) throw new Error(`SPIR-V: ${id} is not there`);
  return found;
}

export function begin({ template, parameters }: Compiled, args: readonly Value[]): Frame {
  const frame = template.slice();
  for (const [i, slot] of parameters.entries()) frame[slot] = at(args, i);
  frame[TURNS] = 0;
  return frame;
}

export const first = ({ blocks, entry }: Compiled): Block => known(blocks, entry);

export function following({ blocks }: Compiled, { next }: Block, frame: Frame): Block | undefined {
  const turns = Number(frame[TURNS]) + 1;
  if (turns > MOST_BLOCKS) throw new Error("SPIR-V: a loop without an end");
  frame[TURNS] = turns;
  const label = next(frame);
  return label === undefined ? undefined : known(blocks, label);
}
