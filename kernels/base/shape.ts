/**
 * Symbolic shapes: "f32[T, D]" names a dtype and the dimensions of a slot. Binding concrete shapes to symbols is the
 * shape check, the error text and the generator of test shapes, all from one string. docs/symbols.md is the glossary.
 */
import { at } from "./at.ts";
import { DTypeError, ShapeError } from "./errors.ts";
import { type DType, isWeightDType } from "./dtype.ts";

/** "weight" stands for any storage format of a frozen matrix, f32 included. */
export type SlotDType = "f32" | "i32" | "u32" | "weight";
export type Slot = `${SlotDType}[${string}]`;
export type Shape = readonly number[];

/** Names of the symbols in a slot, at the type level: DimsOf<"f32[T, 2, D]"> is "T" | "D". */
type Split<S extends string> = S extends `${infer Head}, ${infer Tail}` ? Head | Split<Tail> : S;
export type DimsOf<S extends string> = S extends `${string}[${infer D}]`
  ? Exclude<Split<D>, `${number}` | "">
  : never;

export interface ParsedSlot {
  readonly dtype: SlotDType;
  readonly dims: readonly string[];
}

export function parseSlot(slot: Slot): ParsedSlot {
  const match = /^(f32|i32|u32|weight)\[([A-Za-z0-9_, ]*)\]$/.exec(slot);
  if (!match) throw new ShapeError("slot", `cannot parse "${slot}"`);
  const dims = (match[2] ?? "").split(",").map((d) => d.trim());
  return { dtype: match[1] as SlotDType, dims: dims.filter((d) => d !== "") };
}

/** Whether a dimension is a number rather than a symbol, which begins with a letter. */
function isNumeral(dimension: string): boolean {
  return dimension.charCodeAt(0) <= 57; // "9"
}

/** Binds `shape` to the slot's symbols in `dims`, in place; a symbol keeps the size it met first. */
export function bindShape(where: string, slot: ParsedSlot, shape: Shape, dims: Record<string, number>): void {
  const { length } = slot.dims;
  if (shape.length !== length)
    throw misfit(where, slot, shape, dims, `rank ${shape.length}, expected ${length}`);
  for (let axis = 0; axis < length; axis++) {
    const symbol = at(slot.dims, axis);
    const size = at(shape, axis);
    const known = isNumeral(symbol) ? Number(symbol) : dims[symbol];
    if (known === undefined) dims[symbol] = size;
    else if (known !== size)
      throw misfit(where, slot, shape, dims, `${symbol} is ${known}, axis ${axis} has ${size}`);
  }
}

function misfit(
  where: string,
  slot: ParsedSlot,
  shape: Shape,
  dims: Readonly<Record<string, number>>,
  why: string,
): ShapeError {
  const known = Object.entries(dims).filter(([, size]: [string, number | undefined]) => size !== undefined);
  const sizes = known.map(([k, v]) => `${k}=${v}`);
  return new ShapeError(
    where,
    `[${shape.join(", ")}] does not fit [${slot.dims.join(", ")}]: ${why}; ${sizes.join(" ")}`,
  );
}

/** The concrete shape of a slot; every symbol must be bound. */
export function resolveShape(
  where: string,
  slot: ParsedSlot,
  dims: Readonly<Record<string, number>>,
): number[] {
  return slot.dims.map((symbol) => sizeOf(where, symbol, dims));
}

/** How many elements a slot has; every symbol must be bound. */
export function slotElements(
  where: string,
  slot: ParsedSlot,
  dims: Readonly<Record<string, number>>,
): number {
  let n = 1;
  for (const symbol of slot.dims) n *= sizeOf(where, symbol, dims);
  return n;
}

function sizeOf(where: string, symbol: string, dims: Readonly<Record<string, number>>): number {
  const size = isNumeral(symbol) ? Number(symbol) : dims[symbol];
  if (size === undefined) throw new ShapeError(where, `dimension ${symbol} is not known`);
  return size;
}

export function checkDType(where: string, slot: ParsedSlot, dtype: DType): void {
  const fits = slot.dtype === "weight" ? isWeightDType(dtype) : slot.dtype === dtype;
  if (!fits) throw new DTypeError(where, slot.dtype, dtype);
}

export function elements(shape: Shape): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}
