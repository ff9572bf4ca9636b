/** The model that `--model` names: a path as it is; a name on the hub as the path of what is in the cache. */
import { BadInputError } from "../../engine/errors.ts";
import { whatIs } from "../../model/file.ts";
import type { CommonOptions } from "../options.ts";
import type { Io, Terminal } from "../output.ts";
import { untilStopped } from "../signals.ts";
import { hubName } from "./choose.ts";

/** Nothing is downloaded unless the user says so: where nobody can be asked, the error names the command that does it. */
export async function findModel(
  model: string,
  { quiet }: Pick<CommonOptions, "quiet">,
  terminal: Terminal,
  io: Io,
): Promise<string> {
  const name = hubName(model);
  if (!name || (await whatIs(model)) !== "nothing") return model;
  const { findCached, hubFolder } = await import("./cache.ts"); // with the package: not loaded for a path
  const found = await findCached(name);
  if (found !== null) return found;
  const missing = `${model}: no such file or folder here, and no such model in the hub's cache (${hubFolder()})`;
  const { hubSettings } = await import("./settings.ts");
  const settings = await hubSettings();
  const canAsk = io.stdin.isTTY === true && io.stderr.isTTY === true && quiet !== true;
  if (canAsk && !settings.offline) {
    const [{ Hub }, { planPull, pull }] = await Promise.all([import("./api.ts"), import("./pull.ts")]);
    const hub = new Hub(settings, io.signal, (line) => terminal.note(line));
    terminal.note(missing);
    const plan = await planPull(name, hub, terminal);
    io.stderr.write("templora: pull it now? [y/N] ");
    if (/^y(es)?$/i.test(await readLine(io))) return pull(plan, hub, terminal);
  }
  throw new BadInputError(`${missing}; templora pull ${model} downloads it`);
}

async function readLine(io: Io): Promise<string> {
  let text = "";
  for await (const part of untilStopped(io.stdin, io)) {
    text += typeof part === "string" ? part : Buffer.from(part).toString();
    if (text.includes("\n")) break;
  }
  return (text.split("\n")[0] ?? "").trim();
}
