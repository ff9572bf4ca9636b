/**
 * `npm run demo`: SmolLM2-135M reads the first pages of Moby-Dick, and a temporary LoRA makes its perplexity fall below
 * the frozen model's. The same code as `templora ppl`; further flags go to it (npm run demo -- --device webgpu).
 */
import { describeError, exitCode } from "../cli/errors.ts";
import { run } from "../cli/program.ts";
import { stopOnSignals } from "../cli/signals.ts";
import { fetchSmolLM2 } from "./fetch-smollm2.ts";
import { writeMobyDick } from "./moby-dick.ts";

/** Takes under three minutes on two cores. The learning rate suits so short a text; the paper's is for books. */
const settings = "--max-tokens 2048 --chunk 256 --window 256 --lr 5e-4 --dropout 0".split(" ");

const stop = stopOnSignals();
let code: number;
try {
  await fetchSmolLM2();
  const argv = [
    "ppl",
    await writeMobyDick(),
    "--model",
    "smollm2-135m",
    ...settings,
    ...process.argv.slice(2),
  ];
  process.stderr.write(`$ templora ${argv.join(" ")}\n`);
  const { stdin, stdout, stderr, env } = process;
  code = await run(argv, {
    ...{ stdin, stdout, stderr, env, signal: stop.signal },
    stop: (reason) => stop.abort(reason),
  });
} catch (error) {
  process.stderr.write(describeError(error, process.env));
  code = exitCode.failed;
}
process.stdout.write("", () => process.exit(code));
