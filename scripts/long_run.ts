/**
 * Reads a long text with the tests' tiny model, and writes one of a fifth of it, and fails where anything grows with the text: memory,
 * live buffers, the processor's time for a token. A record goes to bench/results.
 *
 *   npm run long-run -- [--tokens 1000000] [--recipe tuned|paper] [--device cpu|webgpu] [--record]
 *
 * The text is made of the sentences of an excerpt of Moby-Dick, in an order that a seed draws. What is held to: see `bounds`.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { table } from "../cli/format.ts";
import { writeRecord } from "../bench/record.ts";
import { longText } from "./long_run/text.ts";
import { type Tenth, watch } from "./long_run/watch.ts";

const { values } = parseArgs({
  options: {
    tokens: { type: "string", default: "1000000" },
    recipe: { type: "string", default: "tuned" },
    device: { type: "string", default: "cpu" },
    only: { type: "string" },
    record: { type: "boolean", default: false },
  },
});
const { recipe, device } = values;
const tokens = Number(values.tokens);
const golden = fileURLToPath(new URL("../test/golden/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "templora-long-run-"));
process.env["TEMPLORA_CACHE"] = join(folder, "cache");
const book = join(folder, "book.txt");
writeFileSync(book, longText(readFileSync(join(golden, "moby-dick-excerpt.txt"), "utf8"), tokens));

const common = [
  "--model",
  join(golden, "tiny-tied"),
  "--device",
  device,
  "--threads",
  "1",
  "--recipe",
  recipe,
];
const written = Math.floor(tokens / 5);
const CHUNK = 1024; // no recipe's is longer; what is left of one at the end is not learnt
const commands: readonly (readonly [tokens: number, argv: readonly string[]])[] = [
  [tokens, ["ppl", book, ...common, "--max-tokens", String(tokens)]],
  [written, ["generate", "--prompt", "Call me Ishmael.", ...common, "--temperature", "1", "--tokens", String(written + CHUNK), "--out", join(folder, "written.txt")]], // prettier-ignore
];

/** What the last tenth is held to beside the second; in the first, programs are loaded and compiled. */
const bounds: Readonly<Record<string, (last: Tenth, second: Tenth) => boolean>> = {
  // Of a text its ids, which of them were written, and its records are kept (about 12 bytes a token where chunks have 64); of one that is written
  // also the text itself and how long each token was waited for.
  "what is in memory after a collection grows by over 16 MiB and 32 bytes a token": (a, b) =>
    a.rssBytes - b.rssBytes > 2 ** 24 + 32 * (a.tokens - b.tokens),
  "JavaScript's objects grow by over 1 MiB and 32 bytes a token": (a, b) =>
    a.heapBytes - b.heapBytes > 2 ** 20 + 32 * (a.tokens - b.tokens),
  "there are more live buffers": (a, b) => a.liveBuffers > b.liveBuffers,
  "live buffers take more": (a, b) => a.liveBytes > b.liveBytes,
  "the state grows by over 24 bytes a token": (a, b) =>
    a.stateBytes - b.stateBytes > 24 * (a.tokens - b.tokens),
  "a token takes over 5 % more of the processor": (a, b) => a.workPerToken > 1.05 * b.workPerToken,
};

const timings: object[] = [];
for (const [length, argv] of commands) {
  const [name = ""] = argv;
  if (values.only !== undefined && values.only !== name) continue;
  const { code, said, tenths, notFinite } = await watch(
    [...argv, "--state", join(folder, `${name}.state`)],
    length,
  );
  if (code !== 0) throw new Error(`${name}: ${said}`);
  const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  const head = ["tokens", "RSS, MiB", "at most", "heap", "live buffers", "their MiB", "state, MiB", "processor, µs/token", "in fixed work", "wall, µs/token"]; // prettier-ignore
  const rows = tenths.map((one) => [
    ...[String(one.tokens), ...[one.rssBytes, one.mostRssBytes, one.heapBytes].map(mebibytes)],
    ...[String(one.liveBuffers), mebibytes(one.liveBytes), mebibytes(one.stateBytes)],
    ...[one.cpuUsPerToken.toFixed(1), one.workPerToken.toFixed(4), one.wallUsPerToken.toFixed(1)],
  ]);
  console.log(`${name}, ${recipe}, ${device}\n${table([head, ...rows])}`);
  const [second, last] = [tenths[1], tenths.at(-1)];
  if (!second || !last || tenths.length < 10) throw new Error(`${name}: only ${tenths.length} tenths`);
  const broken = Object.keys(bounds).filter((bound) => bounds[bound]?.(last, second));
  if (notFinite > 0) broken.push(`${notFinite} figures are not finite`);
  for (const bound of broken) console.error(`${name}: ${bound}`);
  if (broken.length > 0) process.exitCode = 1;
  timings.push(...tenths.map((one, i) => ({ command: name, tenth: i + 1, ...one, notFinite })));
}
rmSync(folder, { recursive: true });
if (values.record && process.exitCode === undefined)
  console.log(await writeRecord("long_run", { recipe, device, tokens }, timings));
