/**
 * Ends long commands with SIGKILL at random moments, resumes them, ends them again, until each has been ended often enough; then the
 * output must be that of an uninterrupted run. A record of it goes to bench/results.
 *
 *   npm run kills -- [--moments 50] [--torn] [--seed 0] [--record]
 *
 * With --torn half of the states are cut short, changed or removed before they are resumed, wherever there is one before them.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeRecord } from "../bench/record.ts";

const { values } = parseArgs({
  options: {
    moments: { type: "string", default: "50" },
    seed: { type: "string", default: "0" },
    torn: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});
const moments = Number(values.moments);
const root = fileURLToPath(new URL("../", import.meta.url));
const golden = join(root, "test/golden");
const folder = mkdtempSync(join(tmpdir(), "templora-kills-"));

const excerpt = readFileSync(join(golden, "moby-dick-excerpt.txt"), "utf8");
const books = [0, 1, 2].map((i) => {
  const path = join(folder, `book${i}.txt`);
  writeFileSync(path, excerpt.slice(1000 * i, 1000 * i + 5000));
  return path;
});
const paragraphs = join(folder, "text.txt");
writeFileSync(paragraphs, excerpt.replaceAll(/(?<=[.;]) /g, "\n\n"));
const pairs = join(folder, "pairs.json");
const { pairs: blocks } = JSON.parse(readFileSync(join(golden, "translation.json"), "utf8")) as {
  pairs: unknown[];
};
writeFileSync(pairs, JSON.stringify(Array<unknown[]>(4).fill(blocks).flat()));

const learning = ["--rank", "4", "--lr", "0.01", "--dropout", "0.1"];
const commands: Readonly<Record<string, readonly string[]>> = {
  ppl: ["ppl", ...books, ...learning, "--chunk", "32", "--window", "64", "--json", "OUT"],
  sweep: [
    "sweep",
    ...books,
    ...learning,
    "--chunk",
    "64",
    "--window",
    "32,64",
    "--epochs",
    "1,2",
    "--json",
    "OUT",
  ],
  generate: ["generate", "--prompt-file", books[0] ?? "", ...learning, "--chunk", "32", "--window", "64", "--tokens", "400", "--temperature", "1", "--out", "OUT"], // prettier-ignore
  "translate pairs": ["translate", pairs, ...learning, "--max-new-tokens", "12", "--json", "OUT"],
  "translate text": ["translate", paragraphs, ...learning, "--src", "en", "--tgt", "fr", "--max-new-tokens", "12", "--chunk", "64", "--window", "64", "--out", "OUT"], // prettier-ignore
};

/** Numbers in [0, 1) from a seed: the same series is killed at the same shares of a run. */
let state = Number(values.seed) + 1;
const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;

interface Ended {
  readonly code: number | null;
  readonly seconds: number;
  readonly stderr: string;
}

/** Runs a command, and kills it after `limit` seconds. */
function run(name: string, argv: readonly string[], limit = Infinity): Promise<Ended> {
  const began = performance.now();
  const env = { ...process.env, TEMPLORA_CACHE: join(folder, name), TEMPLORA_SAVE_EVERY_MS: "1" };
  const node = [join(root, "node_modules/tsx/dist/cli.mjs"), join(root, "cli/main.ts")];
  const fixed = ["--model", join(golden, "tiny-tied"), "--device", "cpu", "--threads", "1", "--seed", "3"];
  const child = spawn(process.execPath, [...node, ...argv, ...fixed], { env, stdio: ["ignore", "ignore", "pipe"], detached: true }); // prettier-ignore
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const timer = Number.isFinite(limit)
    ? setTimeout(() => process.kill(-Number(child.pid), "SIGKILL"), 1000 * limit)
    : undefined;
  return new Promise((resolve) => {
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, seconds: (performance.now() - began) / 1000, stderr });
    });
  });
}

/** Cuts the newest state of a command short, changes a byte of it, or removes it. Whether there was one before it. */
function tear(name: string): boolean {
  const states = join(folder, name, "state");
  const file = readdirSync(states).find((one) => one.endsWith(".state"));
  if (file === undefined || !existsSync(join(states, `${file}.before`))) return false;
  const path = join(states, file);
  const bytes = readFileSync(path);
  const [place, way] = [Math.floor(random() * bytes.length), random()];
  if (way < 1 / 3) rmSync(path);
  else if (way < 2 / 3) writeFileSync(path, bytes.subarray(0, place));
  else writeFileSync(path, bytes.with(place, (bytes[place] ?? 0) ^ 1));
  return true;
}

/** The output without what differs from run to run. */
const output = (path: string): string =>
  readFileSync(path, "utf8").replaceAll(
    /,"(seconds|peak_bytes)":\{[^{}]*(\{[^{}]*\})?[^{}]*\}|,"tokens_per_second":[^,}]*/g,
    "",
  );

const timings: object[] = [];
for (const [name, argv] of Object.entries(commands)) {
  const [whole, out] = [join(folder, `${name}.whole`), join(folder, `${name}.out`)];
  const to = (path: string): string[] => argv.map((word) => (word === "OUT" ? path : word));
  const uninterrupted = await run(name, to(whole));
  if (uninterrupted.code !== 0) throw new Error(`${name}: ${uninterrupted.stderr}`);
  let [killed, finished, resumed, wrong, torn] = [0, 0, 0, 0, 0];
  while (killed < moments) {
    const saved = existsSync(join(folder, name, "state")) && readdirSync(join(folder, name, "state")).some((file) => file.endsWith(".state")); // prettier-ignore
    if (saved) resumed++;
    if (saved && values.torn && random() < 0.5 && tear(name)) torn++;
    const { code, stderr } = await run(
      name,
      [...to(out), ...(saved ? ["--resume"] : [])],
      random() * uninterrupted.seconds,
    );
    if (code === null) killed++;
    else {
      if (code !== 0) throw new Error(`${name}: ${stderr}`);
      finished++;
      if (output(out) !== output(whole)) wrong++;
      rmSync(out);
    }
  }
  const last = await run(name, [...to(out), "--resume"]);
  if (last.code === 0 && output(out) !== output(whole)) wrong++;
  timings.push({ name, moments: killed, resumed, torn, finished: finished + Number(last.code === 0), wrong });
  console.log(
    `${name}: killed ${killed} times, resumed ${resumed} (${torn} from a torn state), came to its end ${finished} times, ${wrong} times with another output`,
  );
}
rmSync(folder, { recursive: true });
if (values.record)
  console.log(
    await writeRecord(values.torn ? "kills_torn" : "kills", { seed: Number(values.seed) }, timings),
  );
