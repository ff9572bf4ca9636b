/** Suite `startup`: how long the command line takes for `--help`, and to the first token of a model that is on disk. */
import { timingOf } from "./harness.ts";
import { installedCommand, runNode } from "./children.ts";
import { type Bench, type Result, deviceFacts } from "./suite.ts";

export async function startup(bench: Bench): Promise<Result> {
  const { quick, threads, model } = bench.options;
  const device = await bench.open();
  await device.close();
  const { args, what } = installedCommand();
  const generate = [
    ...["generate", "--quiet", "--no-templora", "--tokens", "1", "--chunk", "8", "--window", "8"],
    ...["--prompt", "Call me", "--model", model, "--device", device.info.kind],
    ...(threads === undefined ? [] : ["--threads", String(threads)]),
  ];
  const rounds = quick ? 3 : 9;
  const [help, token]: [number[], number[]] = [[], []];
  for (let round = -1; round < rounds; round++) {
    bench.progress("startup", Math.max(0, round) / rounds);
    const [a, b] = [await runNode([...args, "--help"]), await runNode([...args, ...generate])];
    if (round < 0) continue; // the first time files are read from the disk
    help.push(a.ms);
    token.push(b.firstMs);
  }
  const rows = Object.entries({ "--help, to its end": help, "generate, to its first token": token });
  return {
    rows: rows.map(([name, ms]) => ({ ...timingOf({ name }, ms) })),
    facts: { ...deviceFacts(device), model, command: what },
  };
}
