/**
 * What 64-bit addresses would cost the cpu device: its kernels as they are, and the same with a 64-bit address at each access to a
 * 64-bit memory, in turn in one process. AssemblyScript has no such target, so the built module is changed as text. Addresses are still
 * computed in 32 bits, and widened where they are used: what is measured is the access, for an engine an addition and what it checks.
 *
 *   npx tsx bench/memory64.bench.ts [--unpaired] [--record]        in a checkout, with Node 24 or newer; 4 min
 *
 * `--unpaired`: as where the engine has no 256-bit vectors, or V8's flags are left alone.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CpuDevice } from "../engine/backends/cpu/backend.ts";
import { type Kernels, loadKernels } from "../engine/backends/cpu/build.ts";
import type { Build } from "../engine/backends/cpu/options.ts";
import { Pool } from "../engine/backends/cpu/pool.ts";
import { Task } from "../engine/task.ts";
import { at } from "../kernels/base/at.ts";
import { KVCache } from "../model/kv_cache.ts";
import { loadModel } from "../model/load.ts";
import { recipes } from "../templora/config.ts";
import { readTokens } from "../templora/perplexity.ts";
import { Session } from "../templora/session.ts";
import { type Candidate, measure } from "./harness.ts";
import { writeRecord } from "./record.ts";
import { DEFAULT_MODEL, type Row, deviceFacts } from "./suite.ts";
import { someTokens, write } from "./workload.ts";

const ROUNDS = 15;
const CHUNK = 64;
const unpaired = process.argv.includes("--unpaired");
const PAGE = 65536;
/** Both memories have them from the start: untouched, they take nothing. */
const PAGES = (3 * 2 ** 30) / PAGE;

type Node = string | Node[];

/** A module's text as nested lists. */
function parse(text: string): Node {
  const open: Node[][] = [[]];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|;;.*|[()]|[^\s()";]+/g)) {
    if (token === "(") open.push([]);
    else if (token === ")") open.at(-2)?.push(open.pop() ?? []);
    else if (!token.startsWith(";;")) open.at(-1)?.push(token);
  }
  return open[0]?.[0] ?? [];
}

const print = (node: Node): string => (typeof node === "string" ? node : `(${node.map(print).join(" ")})`);

/** Which operands of an instruction are addresses and sizes. */
function addresses(instruction: string): readonly number[] {
  if (/^\w+\.(load|store|atomic)/.test(instruction)) return [0];
  return { "memory.copy": [0, 1, 2], "memory.fill": [0, 2] }[instruction] ?? [];
}

/** The same module on a 64-bit memory. */
function widened(node: Node): Node {
  if (typeof node === "string") return node;
  const [head = ""] = node;
  if (head === "memory" && node.includes("shared")) return ["memory", "i64", "16", "262144", "shared"];
  const wide = typeof head === "string" ? addresses(head) : [];
  let operand = 0;
  return node.map((part) => {
    const inner = widened(part);
    return Array.isArray(part) && wide.includes(operand++) ? ["i64.extend_i32_u", inner] : inner;
  });
}

/** What `tool` of binaryen, which AssemblyScript brings, makes of `input`. */
function binaryen(tool: string, input: string | Uint8Array): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "templora-memory64-"));
  try {
    const [from, to] = [join(folder, "in"), join(folder, "out")];
    writeFileSync(from, input);
    execFileSync("npx", ["--no", "--", tool, "--all-features", from, "-o", to]);
    return readFileSync(to);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The cpu device with `build`'s tiles, on a memory of `bits` addresses. */
async function open(bits: 32 | 64, build: Build): Promise<CpuDevice> {
  const kernels = await loadKernels({ build, v8Flags: !unpaired });
  const built = readFileSync(new URL("../kernels/build/relaxed.wasm", import.meta.url));
  const text = binaryen("wasm-dis", built).toString();
  const code = binaryen("wasm-as", bits === 64 ? print(widened(parse(text))) : text);
  const narrow = { initial: PAGES, maximum: PAGES, shared: true };
  const wide = { address: "i64", initial: BigInt(PAGES), maximum: BigInt(PAGES), shared: true };
  const memory = new WebAssembly.Memory(bits === 64 ? (wide as unknown as typeof narrow) : narrow);
  memory.grow = () => PAGES; // all that the device asks for is there
  const module = await WebAssembly.compile(Uint8Array.from(code));
  const own: Kernels = { ...kernels, module, memory, maxBytes: PAGES * PAGE };
  return new CpuDevice(own, await Pool.start(own, 1), { v8Flags: !unpaired, threads: 1 });
}

interface Work {
  readonly candidates: readonly Candidate[];
  readonly device: CpuDevice;
  /** After the prompt. */
  readonly logits: Float32Array;
}

/** A prompt, single tokens, and chunks that are scored and learnt, of the same model. */
async function work(bits: 32 | 64, build: Build): Promise<Work> {
  const device = await open(bits, build);
  const model = await loadModel(device, DEFAULT_MODEL);
  const task = new Task(device);
  const prompt = someTokens(model, 128);
  const cache = new KVCache(device, model.config, prompt.length);
  const prefill = async (): Promise<Float32Array> => {
    using _scope = task.scope();
    cache.clear();
    const hidden = model.forward(model.ids(task, prompt), { cache, from: prompt.length - 1 });
    return await model.logits(hidden).data();
  };
  const { steps } = write(model, prompt, 4000, recipes.paper, false);
  const session = new Session(model, { chunk: CHUNK, window: 0, recipe: recipes.paper, baseline: false });
  const chunks = readTokens(session, someTokens(model, CHUNK * 200));
  const candidates = [
    [`prompt of ${prompt.length} tokens`, prefill],
    ["single token", () => steps.next()],
    [`scoring and learning ${CHUNK} tokens`, () => chunks.next()],
  ] as const;
  return {
    candidates: candidates.map(([name, run]) => ({ name, run: async () => void (await run()) })),
    ...{ device, logits: await prefill() },
  };
}

const builds: readonly Build[] = unpaired ? ["relaxed"] : ["wide", "relaxed"];
const now = await work(32, at(builds, 0));
const others: (Work & { build: Build })[] = [];
for (const build of builds) others.push({ build, ...(await work(64, build)) });
if (String(at(others, 0).logits) !== String(now.logits)) throw new Error("the two do not compute the same");
const rows: Row[] = [];
for (const [i, candidate] of now.candidates.entries()) {
  const rivals = others.map(({ candidates }) => at(candidates, i));
  const timings = await measure([candidate, ...rivals], { rounds: ROUNDS, sampleMs: 100, warmUpMs: 500 });
  const first = at(timings, 0);
  rows.push(
    ...timings.map((timing, k): Row => {
      const setup = k === 0 ? "as it is" : `64 bits, ${at(others, k - 1).build} tiles`;
      return { ...timing, setup, ratio: timing.ms / first.ms };
    }),
  );
}
for (const { name, setup, ms, ratio } of rows)
  console.log(`${name}, ${String(setup)}: ${ms.toFixed(1)} ms, ${Number(ratio).toFixed(2)} ×`);
if (process.argv.includes("--record"))
  console.log(
    await writeRecord(
      unpaired ? "memory64_unpaired" : "memory64",
      { ...deviceFacts(now.device), model: DEFAULT_MODEL },
      rows,
    ),
  );
process.exit(); // the sessions' work is not at its end
