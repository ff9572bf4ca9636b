/** Reads JSON files: configurations, indices, adapters, tokenizers, pairs. */
import { BadInputError } from "../engine/errors.ts";
import { Turns } from "../engine/turns.ts";
import { parseJson } from "./json.ts";
import { readTextParts, wholeText } from "./text.ts";
import { inOneLine } from "./untrusted.ts";

/** A parsed JSON file of at most `maxBytes`. It may begin with a byte order mark, as some editors write it. */
export async function readJson(path: string, maxBytes: number): Promise<unknown> {
  return jsonOf(jsonParts(path, maxBytes), path);
}

/** The text of a JSON file, part by part; a file of more than `maxBytes` is refused. */
export function jsonParts(path: string, maxBytes: number): AsyncIterable<string> {
  return readTextParts(path, (_, total) => {
    if (total > maxBytes)
      throw new BadInputError(`${path}: ${total} bytes; at most ${maxBytes} are sensible here`);
  });
}

/** The value of a JSON text that comes in parts. `name`: of the text, for errors. */
export async function jsonOf(parts: AsyncIterable<string>, name: string): Promise<unknown> {
  try {
    return await new Turns().run(parseJson(await wholeText(parts, name)));
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new BadInputError(`${name}: not valid JSON; is it complete? ${inOneLine(error.message)}`, {
        cause: error,
      });
    if (error instanceof RangeError) throw new BadInputError(`${name}: it nests lists or objects too deeply`);
    throw error;
  }
}
