/** f32 matrix products against other libraries on the same machine, threads and adapter; see bench/README.md. */
import { at } from "../../kernels/base/at.ts";
import { setTimeout as sleep } from "node:timers/promises";
import { openCpu } from "../../engine/backends/cpu/backend.ts";
import { openWebGpuDevice } from "../../engine/backends/webgpu/backend.ts";
import type { Device, DeviceInfo } from "../../engine/device.ts";
import { matmul_nt } from "../../kernels/matmul/matmul.ts";
import { type Candidate, type Timing, find, measure } from "../harness.ts";
import type { Compared } from "./generation.ts";
import { openJax } from "./jax.ts";
import { openOnnxRuntime } from "./onnxruntime.ts";
import { type Operands, type Peer, type Product, type Shape, load } from "./peer.ts";
import { openTfjs } from "./tfjs.ts";
import { provideNavigator } from "./web.ts";
import { limits } from "../probe.ts";

const OURS = "templora";
const DEVICES = ["cpu", "webgpu"] as const;

/** Threads of a library go on polling for some milliseconds after its work; they do so while nobody is timed. */
const REST = "rest";

interface Row extends Timing {
  /** Device and shape, as "cpu 512×512×512". */
  readonly work: string;
  readonly library: string;
  readonly way: string;
  /** The largest |got − float64| over the allowed |error|. */
  readonly error: number;
  /** Its time over ours. */
  readonly ratio: number;
  readonly ofFma: number;
}

function ours(device: Device): Peer {
  const products = async ({ x, w, M, N, K }: Operands): Promise<Record<string, Product>> => {
    const upload = (name: string, data: Float32Array) => {
      const view = { buffer: device.allocate("f32", data.length, name), offset: 0, length: data.length };
      device.write(view, data);
      return view;
    };
    const slots = { a: upload("x", x), w: upload("w", w), c: upload("y", new Float32Array(M * N)) };
    const call = { kernel: matmul_nt, slots, dims: { M, N, K }, params: { alpha: 1 } };
    const run = (): void | Promise<void> => {
      device.run(call);
      // The cpu device has computed when run returns.
      return device.info.kind === "cpu" ? undefined : device.flush();
    };
    const result = async (): Promise<Float32Array> => {
      device.run(call);
      return new Float32Array(await device.read(slots.c));
    };
    const close = (): void => Object.values(slots).forEach(({ buffer }) => device.free(buffer));
    return { "x·wᵀ": { run, result, close } };
  };
  return { name: OURS, version: "this commit", settings: device.info.description, products };
}

function operands({ M, N, K }: Shape): Operands {
  let state = 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  const x = Float32Array.from({ length: M * K }, uniform);
  const w = Float32Array.from({ length: N * K }, uniform);
  const wt = new Float32Array(K * N);
  for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) wt[k * N + n] = at(w, n * K + k);
  return { M, N, K, x, w, wt };
}

/** The largest error over what is allowed; the bound is the kernel's own. */
function worstError(got: ArrayLike<number>, expected: Float64Array, { M, N, K }: Shape): number {
  if (got.length !== expected.length) throw new Error(`${got.length} results instead of ${expected.length}`);
  const { rel, abs } = matmul_nt.spec.tolerance({ M, N, K }, { alpha: 1 });
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(at(got, i) - at(expected, i)) / (abs + rel * Math.abs(at(expected, i)));
    if (!(error <= worst)) worst = error; // NaN counts
  }
  return worst;
}

/** Milliseconds of the fastest of a few runs, after some to warm up. */
async function trial(product: Product, warmUpMs: number): Promise<number> {
  const start = performance.now();
  let best = Infinity;
  for (let runs = 0; runs < 5 || performance.now() - start < warmUpMs; runs++) {
    const before = performance.now();
    await product.run();
    best = Math.min(best, performance.now() - before);
  }
  return best;
}

interface Entry {
  readonly peer: Peer;
  readonly way: string;
  readonly product: Product;
  readonly error: number;
}

/** The fastest way of each library, its result checked. */
async function enter(peer: Peer, data: Operands, expected: Float64Array, warmUpMs: number): Promise<Entry> {
  let best: (Entry & { ms: number }) | undefined;
  for (const [way, product] of Object.entries(await peer.products(data))) {
    const error = worstError(await product.result(), expected, data);
    if (!(error <= 1))
      throw new Error(`${peer.name} ${way}: error ${error.toFixed(2)} times what is allowed`);
    const ms = await trial(product, warmUpMs);
    if (best && best.ms <= ms) {
      await product.close();
      continue;
    }
    await best?.product.close();
    best = { peer, way, product, error, ms };
  }
  if (!best) throw new Error(`${peer.name} has no product`);
  return best;
}

interface Contest {
  readonly device: Device;
  readonly limits: readonly Candidate[];
  readonly peers: readonly Peer[];
}

async function compare({ device, limits, peers }: Contest, shape: Shape, quick: boolean): Promise<Row[]> {
  const { M, N, K } = shape;
  const data = operands(shape);
  const expected = new Float64Array(M * N);
  matmul_nt.spec.reference({ ...widened(data), c: expected }, shape, { alpha: 1 });

  const entries: Entry[] = [];
  for (const peer of [ours(device), ...peers]) {
    entries.push(await enter(peer, data, expected, quick ? 200 : 1000));
  }
  const options = quick ? { rounds: 5, sampleMs: 50 } : { rounds: 11, sampleMs: 150 };
  const rest = { name: REST, run: () => sleep(options.sampleMs / 3) };
  const candidates: Candidate[] = [
    ...limits,
    ...entries.map(({ peer, product }) => ({
      name: peer.name,
      run: () => product.run(),
      flops: 2 * M * N * K,
    })),
  ];
  const timings = await measure(
    candidates.flatMap((candidate) => [candidate, rest]),
    options,
  );
  for (const { product } of entries) await product.close();

  const own = find(timings, OURS);
  const fma = find(timings, "limit: fma").gflops ?? NaN;
  return timings
    .filter(({ name }) => name !== REST)
    .map((t) => {
      const entry = entries.find(({ peer }) => peer.name === t.name);
      const rates = { ratio: entry ? t.ms / own.ms : NaN, ofFma: (t.gflops ?? NaN) / fma };
      const facts = { work: `${device.info.kind} ${M}×${N}×${K}`, library: t.name, way: entry?.way ?? "" };
      return { ...facts, ...t, ...rates, error: entry?.error ?? NaN };
    });
}

function widened({ x, w }: Operands): { a: Float64Array; w: Float64Array } {
  return { a: Float64Array.from(x), w: Float64Array.from(w) };
}

function print(rows: readonly Row[]): void {
  console.log(`${at(rows, 0).work.padEnd(24)} way         ms spread GFLOP/s of FMA  ours is  error`);
  for (const t of rows) {
    const cells = [
      t.name.padEnd(24),
      t.way.padEnd(4),
      t.ms.toFixed(2).padStart(9),
      `±${((100 * (t.upper - t.lower)) / 2 / t.ms).toFixed(0)} %`.padStart(6),
      t.gflops ? t.gflops.toFixed(2).padStart(8) : `${(t.gbps ?? 0).toFixed(1)} GB/s`.padStart(8),
      t.gflops ? `${(100 * t.ofFma).toFixed(0)} %`.padStart(6) : "",
      t.way ? `${t.ratio.toFixed(2)} ×`.padStart(8) : "",
      t.way ? t.error.toFixed(2).padStart(6) : "",
    ];
    console.log(cells.join(" ").trimEnd());
  }
  console.log();
}

function shapeOf(text: string): Shape {
  const [M = NaN, N = NaN, K = NaN, ...more] = text.split(/[x×]/).map(Number);
  if (![M, N, K].every((size) => Number.isInteger(size) && size > 0) || more.length > 0) {
    throw new Error(`--shape ${text}: give three sizes, as 1024×1536×576`);
  }
  return { M, N, K };
}

export interface ProductOptions {
  readonly devices: readonly string[];
  readonly threads: number;
  readonly shapes: readonly string[];
  readonly quick: boolean;
}

export const SHAPES: readonly string[] = ["512×512×512", "1024×1024×1024", "1024×1536×576"];

const opening = {
  cpu: async (threads: number) => {
    // Ours first: it is what switches relaxed SIMD on where Node has it behind a flag; jax-js then uses it too.
    const device = await openCpu({ threads, v8Flags: true });
    const peers = [
      await openJax("wasm", threads),
      await openTfjs("wasm", threads),
      await openOnnxRuntime("wasm", threads),
    ];
    return { device, peers };
  },
  webgpu: async (threads: number) => {
    const device = await openWebGpuDevice();
    const peers = [
      await openJax("webgpu", threads),
      await openTfjs("webgpu", threads),
      await openOnnxRuntime("webgpu", threads),
    ];
    return { device, peers };
  },
};

/** Prints as it goes. */
export async function compareProducts({
  devices: named,
  threads,
  shapes,
  quick,
}: ProductOptions): Promise<Compared> {
  const wanted = DEVICES.filter((name) => named.includes(name));
  let gpu: GPU | undefined;
  if (wanted.includes("webgpu")) {
    const { create, globals } = await load<{ create: (flags: string[]) => GPU; globals: object }>("webgpu");
    Object.assign(globalThis, globals);
    gpu = create([]);
  }
  provideNavigator(threads, gpu);
  const rows: Row[] = [];
  const devices: DeviceInfo[] = [];
  const versions: Record<string, { version: string; settings: string }> = {};
  for (const name of wanted) {
    const { device, peers } = await opening[name](threads);
    devices.push(device.info);
    console.log(device.info.description);
    for (const { name: peer, version, settings } of peers) {
      versions[peer] = { version, settings };
      console.log(`  ${peer} ${version}: ${settings}`);
    }
    console.log();
    const contest = { device, limits: limits(device), peers };
    for (const shape of shapes.map(shapeOf)) {
      const compared = await compare(contest, shape, quick);
      print(compared);
      rows.push(...compared);
    }
    await device.close();
  }
  return { facts: { devices, peers: versions, threads }, rows };
}
