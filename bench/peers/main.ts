/**
 * templora against other libraries, each at its best settings, on the same machine, threads, weights and tokens. Results
 * are compared before times are. Installs what it needs first; see bench/README.md.
 *
 *   npm run bench:peers -- [products] [generation] [update] [--device cpu|webgpu]… [--threads N] [--model NAME] [--shape M×N×K]… [--quick] [--record]
 */
import { execFileSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { mobyDickText } from "../../scripts/moby-dick.ts";
import { openModelFiles } from "../../model/model_files.ts";
import { writeRecord } from "../record.ts";
import { type Compared, compareGeneration } from "./generation.ts";
import { install } from "./install.ts";
import { compareLearning } from "./learning.ts";
import { SHAPES, compareProducts } from "./products.ts";

const CONTESTS = ["products", "generation", "update"] as const;
/** The suites that records are filed under; of other models than the usual one, with its name behind. */
const SUITES = { products: "peers", generation: "peers_generation", update: "peers_update" } as const;
const TOKENS = 3 * 1024;
const MODEL = "smollm2-135m";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", multiple: true, default: ["cpu", "webgpu"] },
    model: { type: "string", default: MODEL },
    threads: { type: "string", default: String(availableParallelism()) },
    shape: { type: "string", multiple: true, default: [...SHAPES] },
    quick: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});
const threads = Number(values.threads);
const { quick, record } = values;
const unknown = positionals.find((name) => !CONTESTS.some((contest) => contest === name));
if (unknown !== undefined) {
  console.error(`${unknown}: no such comparison; there are ${CONTESTS.join(", ")}`);
  process.exit(2);
}

async function bookTokens(model: string): Promise<number[]> {
  const modelFiles = await openModelFiles(model);
  await modelFiles.close();
  return [...modelFiles.tokenizer.encode(mobyDickText().slice(0, 40_000))].slice(0, TOKENS);
}

/** The path of a fetched model, which `templora pull` prints. */
function fetchModel(name: string): string {
  const command = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
  const argv = [...process.execArgv, command, "pull", name];
  return execFileSync(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] })
    .toString()
    .trim();
}

install();
for (const contest of CONTESTS) {
  if (positionals.length > 0 && !positionals.includes(contest)) continue;
  console.log(`${contest}\n`);
  let compared: Compared;
  if (contest === "products") {
    compared = await compareProducts({ devices: values.device, threads, shapes: values.shape, quick });
  } else {
    const model = fetchModel(values.model);
    const compare = contest === "generation" ? compareGeneration : compareLearning;
    compared = await compare(model, await bookTokens(model), threads, quick);
    console.table(
      compared.rows.map((row) =>
        Object.fromEntries(
          Object.entries(row).filter(([key, value]) => key !== "name" && typeof value !== "object"),
        ),
      ),
    );
    console.log(compared.facts);
  }
  const suite =
    contest === "products" || values.model === MODEL ? SUITES[contest] : `${SUITES[contest]}_${values.model}`;
  if (record) console.log(await writeRecord(suite, compared.facts, compared.rows));
}
process.exit(); // the peers' threads and devices have no end of their own
