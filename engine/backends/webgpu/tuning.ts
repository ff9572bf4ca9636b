/**
 * The tuning file: which variants of the kernels are fastest on which adapter, as `templora bench tune` measured. It is data
 * from outside: a file that is broken or not ours is ignored with one line on stderr, and so is a choice that this version does
 * not have. For Node; in browsers choices are passed to openWebGpuDevice.
 */
import type { PlanContext } from "../../../kernels/kernel.ts";
import { isChoice } from "../../../kernels/matmul/variants.ts";
import { cacheFolder, join, readFileSync, statSync, writeWhole } from "../host/files.ts";
import type { AdapterFacts } from "./device.ts";

/** Variant by kernel family and class of shapes, as in PlanContext.tuned. */
export type Choices = Readonly<Record<string, string>>;

const FORMAT = "templora tune-webgpu 1";
const MOST_BYTES = 2 ** 20;

type Adapter = Pick<AdapterFacts, "vendor" | "architecture" | "device" | "description">;
type Warn = (line: string) => void;

export function tuningFile(): string {
  return join(cacheFolder(), "tune-webgpu.json");
}

/** Vendor, architecture, device, and the description, in which drivers give their version. */
function adapterKey({ vendor, architecture, device, description }: Adapter): string {
  return [vendor, architecture, device, description].join(" | ");
}

const onStderr: Warn = (line) => void process.stderr.write(`templora: ${line}\n`);

/** The choices for an adapter; none where the file, or the adapter in it, is not there. */
export function readTuning(
  path: string,
  adapter: Adapter,
  plans: Pick<PlanContext, "software" | "subgroupSize">,
  warn: Warn = onStderr,
): Choices {
  let adapters: Map<string, Choices> | undefined;
  try {
    adapters = readFile(path);
  } catch (error) {
    warn(`${path} is ignored: ${(error as Error).message}; delete it or run: templora bench tune`);
  }
  const stored = Object.entries(adapters?.get(adapterKey(adapter)) ?? {});
  const unknown = stored.filter(([key, name]) => !isChoice(key, name, plans));
  if (unknown.length > 0) {
    const names = unknown.map(([key, name]) => `${key}=${name}`.slice(0, 80)).join(", ");
    warn(`${path}: this version has no ${names}; the default is used (measure again: templora bench tune)`);
  }
  return Object.fromEntries(stored.filter(([key, name]) => isChoice(key, name, plans)));
}

/** Puts an adapter's choices into the file, beside those of others; the file is replaced whole. */
export async function writeTuning(path: string, adapter: Adapter, choices: Choices): Promise<void> {
  let adapters: Map<string, Choices> | undefined;
  try {
    adapters = readFile(path);
  } catch {
    // broken or not ours: replaced
  }
  const all = new Map(adapters).set(adapterKey(adapter), choices);
  const content = { format: FORMAT, adapters: Object.fromEntries(all) };
  await writeWhole(path, `${JSON.stringify(content, null, 2)}\n`);
}

/** Undefined where there is no file; throws, in words, when it is not one of ours. */
function readFile(path: string): Map<string, Choices> | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return undefined;
  if (!stats.isFile() || stats.size > MOST_BYTES) throw new Error("not a tuning file");
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path).toString());
  } catch {
    throw new Error("not valid JSON");
  }
  if (!isObject(content) || content["format"] !== FORMAT || !isObject(content["adapters"]))
    throw new Error(`not of the format "${FORMAT}"`);
  const adapters = new Map<string, Choices>();
  for (const [key, choices] of Object.entries(content["adapters"])) {
    if (!isObject(choices) || !Object.values(choices).every((name) => typeof name === "string"))
      throw new Error("not a tuning file: an adapter's choices must be names");
    adapters.set(key, choices as Choices);
  }
  return adapters;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
