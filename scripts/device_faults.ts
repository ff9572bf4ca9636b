/**
 * Commands in which a device fails at random calls, on every device of this machine: each must come to the output of an undisturbed run,
 * bit for bit but for times, by itself or when it is resumed (docs/reliability.md). A record of it goes to bench/results.
 *
 *   npm run device-faults -- [--moments 4] [--seed 0] [--record]
 *
 * --moments: of each command on each device in each way. Every fourth is in a process of its own, the rest are in this one, where leaks are seen.
 */
import { parseArgs } from "node:util";
import { writeRecord } from "../bench/record.ts";
import { openDevice } from "../engine/backends/open.ts";
import { type Kind, countCalls, waysOf } from "../test/support/device_faults.ts";
import {
  type Command,
  type End,
  argvOf,
  child,
  commands,
  ends,
  faultyRun,
  here,
  linesOf,
} from "../test/support/faulty_runs.ts";
import { TestRandom } from "../test/support/rng.ts";

const { values } = parseArgs({
  options: {
    moments: { type: "string", default: "4" },
    seed: { type: "string", default: "0" },
    record: { type: "boolean", default: false },
  },
});
const [moments, seed] = [Number(values.moments), Number(values.seed)];
const random = new TestRandom(seed, "device faults");
process.env["TEMPLORA_SAVE_EVERY_MS"] = "50"; // copies between some steps, and none before others
let unhandled = 0;
process.on("unhandledRejection", () => unhandled++);

/** What a GPU is, or null where none opens. */
const gpu = await openDevice("webgpu").then(
  async (device) => {
    await device.close();
    return device.info.description;
  },
  () => null,
);
const kinds: readonly Kind[] = gpu === null ? ["cpu"] : ["cpu", "webgpu"];

const timings: object[] = [];
let moment = 0;
for (const kind of kinds)
  for (const command of Object.keys(commands) as Command[]) {
    if (kind === "webgpu" && command === "generate beside") continue; // which is for the CPU alone
    const threads = command === "generate beside" ? 1 : 2; // the only other thread is the learner
    using counted = await countCalls(kind);
    const undisturbed = await here(argvOf(command, kind, threads), null);
    if (undisturbed.code !== 0) throw new Error(undisturbed.stderr);
    const [whole, calls] = [linesOf(undisturbed), counted.calls];
    counted[Symbol.dispose]();
    for (const way of waysOf[kind]) {
      const found = new Map<End | "wrong", number>();
      for (let n = 0; n < moments; n++) {
        const fault = { kind, way, at: 1 + random.below(calls.get(way) ?? 0) };
        const run = moment++ % 4 === 3 ? child : here;
        const end = await faultyRun(run, argvOf(command, kind, threads), fault, whole).catch(
          (error: unknown) => {
            console.log((error as Error).message);
            return "wrong" as const;
          },
        );
        found.set(end, (found.get(end) ?? 0) + 1);
      }
      const counts = Object.fromEntries(
        [...ends, "wrong" as const].map((end) => [end.replace(" ", "_"), found.get(end) ?? 0]),
      );
      timings.push({ name: command, device: kind, way, moments, ...counts });
      console.log(`${kind}, ${command}, ${way}: ${[...found].map(([end, n]) => `${n} ${end}`).join(", ")}`);
    }
  }
console.log(`${moment} faults, ${unhandled} unhandled rejections`);
if (values.record) console.log(await writeRecord("device_faults", { seed, gpu, unhandled }, timings));
process.exit(unhandled === 0 ? 0 : 1);
