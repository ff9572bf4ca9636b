/**
 * Runs a target on an input and says what is wrong with that: an error that is none of ours, or with a message that is too long or has
 * control characters; more of the processor's time or of memory than the limits; a path outside of the folder; a changed prototype.
 */
import { getHeapStatistics } from "node:v8";
import { BadInputError } from "../../engine/errors.ts";
import { largestBuffer } from "./allocations.ts";
import { trespasses } from "./guard.ts";
import type { Fault, Kind, Limits, Target } from "./target.ts";

const LONGEST_MESSAGE = 1000;

/** Bytes in use: objects, and buffers outside of the heap. */
function inUse(): number {
  const { used_heap_size, external_memory } = getHeapStatistics();
  return used_heap_size + external_memory;
}

/** The most memory that the process ever had; the call takes a while. */
const peakBytes = (): number => 1024 * process.resourceUsage().maxRSS;
let peak = peakBytes();

/** Errors that came when nobody waited for them. */
export const unhandled: unknown[] = [];

const oneLine = (text: string): string => JSON.stringify(text.slice(0, 200)).slice(1, -1);

function fault(kind: Kind, what: string, where = ""): Fault {
  return { kind, what: oneLine(what), key: `${kind} ${where || what.replaceAll(/\d+/g, "0").slice(0, 100)}` };
}

/** The function of ours that threw, by its name: lines change too often. */
function thrower({ stack = "" }: Error): string {
  const frames = [
    ...stack.matchAll(/^ +at (?:async )?(?:(\S.*?) \()?.*?\b((?:model|templora|cli|engine)\/[^:)]*)/gm),
  ];
  return frames
    .slice(0, 2)
    .map(([, name = "", file = ""]) => `${name} ${file}`)
    .join(" < ");
}

function faultIn(error: unknown, { expected }: Target): Fault | null {
  if (!(error instanceof Error)) return fault("error", `thrown: ${String(error)}`);
  const { name, message } = error;
  if (!(error instanceof BadInputError) && expected?.(error) !== true) {
    const where = thrower(error);
    return fault("error", `${name}: ${message} (${where})`, `${name} ${where}`);
  }
  if (message.length > LONGEST_MESSAGE)
    return fault("message", `${message.length} characters: ${message}`, `long ${thrower(error)}`);
  if (/\p{Cc}/u.test(message))
    return fault("message", `control characters: ${message}`, `control ${thrower(error)}`);
  return null;
}

/** Null where all is well. */
export async function judge(
  target: Target,
  input: Uint8Array,
  folder: string,
  limits: Limits,
): Promise<Fault | null> {
  const first = await judgeOnce(target, input, folder, limits);
  if (first?.kind !== "memory" && first?.kind !== "hang") return first;
  // what other inputs had left behind, or compiling, counts once
  (globalThis as { gc?: () => void }).gc?.();
  return judgeOnce(target, input, folder, limits);
}

async function judgeOnce(
  target: Target,
  input: Uint8Array,
  folder: string,
  limits: Limits,
): Promise<Fault | null> {
  const most = limits.bytes + limits.perByte * input.length;
  const before = inUse();
  largestBuffer();
  const cpu = process.cpuUsage();
  let found: Fault | null = null;
  try {
    await target.run(input, folder);
  } catch (error) {
    found = faultIn(error, target);
  }
  const after = peakBytes();
  const grown = Math.max(inUse() - before, after - peak, largestBuffer());
  peak = after;
  const { user, system } = process.cpuUsage(cpu);
  const [trespass] = trespasses.splice(0);
  const [late] = unhandled.splice(0);
  if (trespass !== undefined) return fault("trespass", trespass, trespass.split(":")[0]);
  if (found) return found;
  if (late !== undefined) return faultIn(late, target);
  for (const key in {}) {
    delete (Object.prototype as Record<string, unknown>)[key];
    return fault("prototype", `Object.prototype has ${key}`, "prototype");
  }
  if (user + system > 1e6 * limits.seconds)
    return fault("hang", `${((user + system) / 1e6).toFixed(1)} s`, "slow");
  if (grown > most) return fault("memory", `${grown} bytes for an input of ${input.length}`, "memory");
  return null;
}
