/**
 * Flags of `templora ppl` in a job file, each of the kind that the command itself declares. A value is one word with its flag, so that
 * no value becomes another flag or another text.
 */
import { Command, CommanderError } from "commander";
import { BadInputError } from "../../engine/errors.ts";
import { asBoolean, asObject, inOneLine, plain, show } from "../../model/untrusted.ts";
import { nearest } from "../nearest.ts";
import type { Io } from "../output.ts";
import { ppl } from "../ppl.ts";

/** Without their dashes, and their values. */
export type Flags = Readonly<Record<string, string | number | boolean>>;

/** Those that are the worker's, or name files of the machine that submits. */
const withheld = ["model", "device", "threads", "json", "quiet", "state", "resume", "report", "save-adapter", "load-adapter"]; // prettier-ignore

/** ppl as it is declared; nothing is run. */
function declared(): Command {
  const command = new Command("ppl").exitOverride().configureOutput({ writeErr: () => undefined });
  ppl(command, {} as Io, []);
  return command.action(() => undefined);
}

/** {"lr": 1e-4, "baseline": false, "special": false} → --lr=0.0001 --no-baseline. What is no such flag or value is refused by its key. */
export function argvOf(flags: unknown, where: string): string[] {
  const { options } = declared();
  return Object.entries(asObject(flags, where)).flatMap(([key, value]) => {
    if (withheld.includes(key)) throw new BadInputError(`${where}: ${key}: not for a job; leave it out`);
    const option = options.find((one) => one.name() === key || (one.negate && one.name() === `no-${key}`));
    if (!option) {
      const names = options.map((one) => one.name()).filter((name) => !withheld.includes(name));
      const hint = nearest(key.replace(/^-+/, ""), names);
      throw new BadInputError(`${where}: ${plain(key)}: no flag of templora ppl${hint}`);
    }
    const flag = `--${option.name()}`;
    if (option.isBoolean() || option.negate)
      return asBoolean(value, `${where}: ${key}`) === (option.name() === key) ? [flag] : [];
    if (typeof value !== "string" && typeof value !== "number")
      throw new BadInputError(`${where}: ${key}: expected text or a number, got ${show(value)}`);
    return [`${flag}=${value}`];
  });
}

/** What ppl's own parser makes of the flags, or its refusal. */
export function optionsOf(flags: unknown, where: string): Readonly<Record<string, unknown>> {
  const command = declared();
  const argv = argvOf(flags, where);
  try {
    command.parse([...argv, "--", "text"], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError) && !(error instanceof BadInputError)) throw error;
    throw new BadInputError(`${where}: ${inOneLine(error.message.replace(/^error: /, ""))}`);
  }
  const options = command.opts<{ conventions: string; extend?: { method: string } }>();
  if (options.conventions === "llama-perplexity")
    throw new BadInputError(`${where}: conventions: llama-perplexity keeps no state, so not through a queue`);
  if (options.extend?.method === "longrope")
    throw new BadInputError(`${where}: extend: a file of this machine; leave it out`);
  return options;
}
