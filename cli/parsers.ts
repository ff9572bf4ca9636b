/** Parsers that turn the text of a flag into its value, or throw one clear line. */
import { Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { type Extension, MOST_TIMES, extensionMethods } from "../model/extend.ts";
import type { Attention, AttentionMethod } from "../model/reach.ts";
import type { Share } from "../templora/neighbours.ts";
import { type Limits, inWords, within } from "../templora/limits.ts";
import { readDivisors } from "./divisors.ts";
import { nearest } from "./nearest.ts";

/** A parser for commander: finite decimal numbers within limits. `before`: what stands between the flag and the number. */
export function number(flag: string, limits: Limits, before = ""): (text: string) => number {
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : NaN;
    if (!within(value, limits))
      throw new BadInputError(`${flag} ${before}${text}: expected ${inWords(limits, value)}`);
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

/** A parser for commander: yarn:4, longrope:divisors.json. */
export function extension(flag: string): (text: string) => Extension {
  return (text) => {
    const [name = "", factor, ...rest] = text.split(":");
    const method = choice(flag, [...extensionMethods, "longrope" as const])(name);
    if (method === "longrope") return readDivisors(flag, text.slice(name.length + 1));
    if (factor === undefined || rest.length > 0)
      throw new BadInputError(`${flag} ${text}: expected a method and a factor, such as yarn:4`);
    return { method, factor: number(flag, { min: 1, max: MOST_TIMES }, `${method}:`)(factor) };
  };
}

/** A parser for commander: 0.05, auto. */
export function memoryShare(flag: string, limits: Limits, before = ""): (text: string) => Share {
  const share = number(flag, limits, before);
  return (text) => {
    if (text === "auto") return text;
    try {
      return share(text);
    } catch (error) {
      throw new BadInputError(`${(error as Error).message}; or auto`);
    }
  };
}

/** More positions than any model has; the kernels count in 32 bits. */
const MOST_TOKENS = 2 ** 29;

/** How each method of attention is written: its numbers, in tokens, and what stands between them. */
const attentionForms: Readonly<
  Record<
    AttentionMethod,
    { readonly names: readonly string[]; readonly between: string; readonly form: string }
  >
> = {
  full: { names: [], between: "", form: "full" },
  sliding: { names: ["window"], between: ":", form: "sliding:N, such as sliding:256" },
  streaming: { names: ["sinks", "window"], between: "+", form: "streaming:S+W, such as streaming:4+252" },
  "self-extend": {
    names: ["group", "window"],
    between: ",",
    form: "self-extend:G,W, such as self-extend:4,256",
  },
};

export const attentionMethods = Object.keys(attentionForms) as readonly AttentionMethod[];

/** A parser for commander: full, sliding:256, streaming:4+252, self-extend:4,256. */
export function attention(flag: string): (text: string) => Attention {
  return (text) => {
    const [name = "", ...numbers] = text.split(":");
    const method = choice(flag, attentionMethods)(name);
    const { names, between, form } = attentionForms[method];
    const given = numbers.flatMap((part) => part.split(between));
    if (numbers.length > 1 || given.length !== names.length)
      throw new BadInputError(`${flag} ${text}: expected ${form}`);
    const value = number(flag, { integer: true, min: 1, max: MOST_TOKENS }, `${method}:`);
    return { method, ...Object.fromEntries(given.map((x, i) => [names[i], value(x)])) } as Attention;
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
