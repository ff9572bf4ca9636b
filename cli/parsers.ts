/** Parsers that turn the text of a flag into its value, or throw one clear line. */
import { Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
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

/** A numeric option of one command. */
export function numeric(flags: string, description: string, limits: Limits): Option {
  const [flag = flags] = flags.split(" ");
  return new Option(flags, description).argParser(number(flag, limits));
}
