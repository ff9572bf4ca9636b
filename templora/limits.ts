/** The numbers that an option accepts, as data: its check and the words of help texts and errors follow from it. */
import { BadInputError } from "../engine/errors.ts";

export interface Limits {
  readonly integer?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** The bound itself is not allowed. */
  readonly above?: number;
  readonly below?: number;
}

/** The largest count (of tokens, positions, steps): the largest i32. */
const MAX_COUNT = 2 ** 31 - 1;

/** Whether `value` is finite and within `limits`. A whole number without a `max` may be at most MAX_COUNT. */
export function within(value: number, limits: Limits): boolean {
  const { integer = false, min = -Infinity, above = -Infinity, below = Infinity } = limits;
  const { max = integer ? MAX_COUNT : Infinity } = limits;
  const fits = value >= min && value <= max && value > above && value < below && Number.isFinite(value);
  return fits && (!integer || Number.isInteger(value));
}

/** "a whole number, at least 1", for instance. MAX_COUNT is named only when `value` exceeds it. */
export function inWords({ integer = false, min, max, above, below }: Limits, value = 0): string {
  const bounds: string[] = [];
  if (min !== undefined) bounds.push(`at least ${min}`);
  if (above !== undefined) bounds.push(`above ${above}`);
  if (max !== undefined) bounds.push(`at most ${max}`);
  else if (integer && value > MAX_COUNT) bounds.push(`at most ${MAX_COUNT}`);
  if (below !== undefined) bounds.push(`below ${below}`);
  return [integer ? "a whole number" : "a number", bounds.join(" and ")].filter(Boolean).join(", ");
}

/** Throws BadInputError, which names the option, for a value outside `limits`. */
export function expectWithin(options: Readonly<Record<string, number>>, limits: Limits): void {
  for (const [name, value] of Object.entries(options))
    if (!within(value, limits)) throw new BadInputError(`${name}: expected ${inWords(limits)}, not ${value}`);
}
