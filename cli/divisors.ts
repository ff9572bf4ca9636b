/** LongRoPE's divisors out of a file of the user's: --extend longrope:FILE. */
import { readFileSync, statSync } from "node:fs";
import { BadInputError } from "../engine/errors.ts";
import type { ByDivisors } from "../model/extend.ts";
import { fileError } from "../model/file.ts";
import { asObject, show } from "../model/untrusted.ts";

/** No list of divisors is longer: of heads with 2^15 dimensions, with all digits. */
const MAX_BYTES = 2 ** 20;

/** A JSON object as transformers has it in rope_scaling: factor, short_factor, long_factor and, perhaps, attention_factor. What they hold is checked with the model. */
export function readDivisors(flag: string, path: string): ByDivisors {
  if (path === "")
    throw new BadInputError(
      `${flag} longrope: expected a JSON file of divisors, such as longrope:divisors.json`,
    );
  const { type, rope_type = type, ...own } = asObject(parsed(path), path);
  if (rope_type !== undefined && rope_type !== "longrope")
    throw new BadInputError(`${path}: rope_type is ${show(rope_type)}; expected longrope`);
  return { ...(own as Omit<ByDivisors, "method">), method: "longrope", file: path };
}

function parsed(path: string): unknown {
  let text: string;
  try {
    const stat = statSync(path);
    if (!stat.isFile() && !stat.isDirectory())
      throw new BadInputError(`${path}: a pipe or a device; a file is expected`); // it may never end
    if (stat.size > MAX_BYTES && stat.isFile())
      throw new BadInputError(`${path}: ${stat.size} bytes; at most ${MAX_BYTES} are sensible here`);
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw error instanceof BadInputError ? error : fileError(path, error);
  }
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new BadInputError(`${path}: not valid JSON; is it complete?`, { cause: error });
  }
}
