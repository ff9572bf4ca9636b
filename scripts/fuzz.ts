/**
 * Coverage-guided fuzzing of all that templora reads from files and from the hub (scripts/fuzz/targets).
 *
 *   npm run fuzz -- TARGET|all [--minutes 1] [--inputs N] [--seed 0] [--minimise] [--record]
 *
 * It begins with test/fuzz/corpus/TARGET and with what earlier runs have kept (in templora's cache folder, or --corpus FOLDER), so a run goes on
 * where the last one ended. An input that finds a fault is made smaller and put into test/fuzz/faults/TARGET; test/fuzz.test.ts runs all
 * of these. `all` divides the time among the targets. --minimise puts the fewest inputs that reach all that the kept ones reach into
 * test/fuzz/corpus; --record writes a record of the run to bench/results.
 *
 * Our own, though jazzer.js would be the tool: its 4.0.0, the first with a loader for ES modules, has a native part that needs glibc 2.38, newer
 * than Debian 12's; 2.1.0 before it does not install. V8's own coverage (node:inspector) takes 2 to 4 ms a look, several times what an
 * input takes, and has no range of its own for a block that runs as often as what is around it. So counters are put into the sources (scripts/fuzz/instrument.ts).
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeRecord } from "../bench/record.ts";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { bundle } from "./fuzz/bundle.ts";
import { inputsIn, isFound, keep } from "./fuzz/corpus.ts";
import { LIMITS } from "./fuzz/target.ts";
import { type Found, watch } from "./fuzz/watch.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const names = [
  "safetensors",
  "gguf",
  "tokenizer.json",
  "config.json",
  "pairs",
  "checkpoint",
  "adapter",
  "hub",
  "divisors",
];

const { values, positionals } = parseArgs({
  options: {
    minutes: { type: "string" },
    inputs: { type: "string" },
    seed: { type: "string", default: "0" },
    corpus: { type: "string", default: join(cacheFolder(), "fuzz") },
    minimise: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
const chosen = positionals.includes("all") ? names : positionals;
const other = chosen.find((name) => !names.includes(name));
if (chosen.length === 0 || other !== undefined)
  throw new Error(
    `npm run fuzz -- TARGET: ${other ?? "none is named"}; there are ${names.join(", ")}, and all`,
  );
const minutes = Number(values.minutes ?? (values.inputs === undefined ? 1 : 1e6));
const seconds = (60 * minutes) / chosen.length;

const built = mkdtempSync(join(tmpdir(), "templora-fuzz-"));
process.once("exit", () => rmSync(built, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
const rows: object[] = [];
const program = await bundle(built);
for (const name of chosen) {
  const [seeds, kept] = [join(root, "test/fuzz/corpus", name), join(values.corpus, name)];
  const faults = join(root, "test/fuzz/faults", name);
  const asked = { target: name, seed: Number(values.seed), limits: LIMITS, corpus: [seeds, faults, kept] };
  if (values.minimise) {
    const { fewest } = await watch(program, {
      ...asked,
      seconds: 0,
      inputs: 0,
      corpus: [seeds, kept],
      minimise: true,
    });
    minimise(seeds, fewest);
    console.log(`${name}: ${fewest.length} inputs beside those with names`);
    continue;
  }
  const onFault = ({ kind, what, input }: Found): void =>
    console.log(`${name}: ${kind}: ${what}\n  ${keep(faults, input)} (${input.length} bytes)`);
  const inputs = Number(values.inputs ?? 2 ** 52);
  const found = await watch(program, { ...asked, seconds, inputs }, onFault);
  const row = {
    ...{ target: name, inputs: found.runs, seconds: Math.round(found.seconds) },
    ...{ a_second: Math.round(found.runs / found.seconds), kept: found.kept, reached: found.reached },
    ...{ faults: found.faults.length, ended: found.ended },
  };
  console.log(JSON.stringify(row));
  rows.push(row);
  if (found.faults.length > 0) process.exitCode = 1;
}
if (rows.length > 1) console.table(rows);
if (values.record)
  console.log(await writeRecord("fuzz", { seed: Number(values.seed), limits: LIMITS }, rows));

/** Puts these in the place of those that were found before. */
function minimise(seeds: string, fewest: readonly Uint8Array[]): void {
  for (const { name } of inputsIn(seeds)) if (isFound(name)) rmSync(join(seeds, name));
  for (const input of fewest) keep(seeds, input);
}
