/** The packages that only the queue needs: they are installed beside templora where it is used. */
import { BadInputError } from "../../engine/errors.ts";

/** Imports by `load`; a package that is not there becomes one line that says how to get it. */
export async function needed<T>(names: readonly string[], load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["ERR_MODULE_NOT_FOUND", "MODULE_NOT_FOUND"].includes(code)) throw error;
    const [first = ""] = names;
    const missing = names.find((name) => (error as Error).message.includes(`'${name}'`)) ?? first;
    throw new BadInputError(`the package '${missing}' is not installed; npm install ${names.join(" ")}`);
  }
}
