/** Parsers that turn the text of a flag into its value, or throw one clear line. */
import { Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { type Extension, extensionMethods } from "../model/extend.ts";
import { type Limits, inWords, within } from "../templora/limits.ts";
import { nearest } from "./nearest.ts";

/** A parser for commander: finite decimal numbers within limits. */
export function number(flag: string, limits: Limits): (text: string) => number {
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : NaN;
    if (!within(value, limits))
      throw new BadInputError(`${flag} ${text}: expected ${inWords(limits, value)}`);
    return value;
  };
}

/** A parser for commander: one of the choices. */
export function choice<T extends string>(flag: string, choices: readonly T[]): (text: string) => T {
  return (text) => {
    const found = choices.find((c) => c === text);
    if (found === undefined) {
      throw new BadInputError(`${flag} ${text}: expected ${choices.join(", ")}${nearest(text, choices)}`);
    }
    return found;
  };
}

/** A parser for commander: yarn:4. */
export function extension(flag: string): (text: string) => Extension {
  return (text) => {
    const [method = "", factor, ...rest] = text.split(":");
    if (factor === undefined || rest.length > 0)
      throw new BadInputError(`${flag} ${text}: expected a method and a factor, such as yarn:4`);
    return {
      method: choice(flag, extensionMethods)(method),
      factor: number(`${flag} ${method}:`, { min: 1, max: 1000 })(factor),
    };
  };
}

/** A parser for commander: sliding:256. */
export function slidingWindow(flag: string): (text: string) => number {
  return (text) => {
    const [method, window, ...rest] = text.split(":");
    if (method !== "sliding" || window === undefined || rest.length > 0)
      throw new BadInputError(
        `${flag} ${text}: expected sliding and a number of tokens, such as sliding:256`,
      );
    return number(`${flag} sliding:`, { integer: true, min: 1 })(window);
  };
}

/** A parser for commander: whole numbers above 0, ascending, with commas between. */
export function ascending(flag: string): (text: string) => readonly number[] {
  return (text) => {
    const values = text.split(",").map(number(flag, { integer: true, min: 1 }));
    if (values.some((value, i) => value <= (values[i - 1] ?? 0)))
      throw new BadInputError(`${flag} ${text}: each number must be above the one before it`);
    return values;
  };
}

/** A numeric option of one command. */
export function numeric(flags: string, description: string, limits: Limits): Option {
  const [flag = flags] = flags.split(" ");
  return new Option(flags, description).argParser(number(flag, limits));
}
