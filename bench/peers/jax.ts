/** jax-js: WebAssembly (SIMD, relaxed multiply-add, a worker per thread) and WebGPU. */
import { type Operands, type Peer, type Product, load, versionOf } from "./peer.ts";
import { provideWorker } from "./web.ts";

interface JaxArray {
  /** The same array once more: every operation consumes its arguments. */
  readonly ref: JaxArray;
  transpose(): JaxArray;
  data(): Promise<Float32Array>;
  blockUntilReady(): Promise<JaxArray>;
  dispose(): void;
}
interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): void;
  getWebGPUDevice(): GPUDevice;
  jit(f: (a: JaxArray, b: JaxArray) => JaxArray): (a: JaxArray, b: JaxArray) => JaxArray;
  readonly numpy: {
    array(values: Float32Array, options: { shape: number[] }): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
  };
}

export async function openJax(device: "wasm" | "webgpu", threads: number): Promise<Peer> {
  // One worker computes as fast as the main thread and spares it the messages; so none for one thread.
  if (device === "wasm" && threads > 1) provideWorker();
  const jax = await load<Jax>("@jax-js/jax");
  const found = await jax.init(device);
  if (!found.includes(device)) throw new Error(`jax-js has no ${device} here`);
  jax.defaultDevice(device);
  const { numpy } = jax;
  // Workers start with the first kernel: before another library puts its own Worker in the global scope.
  const one = numpy.array(new Float32Array(64 * 64), { shape: [64, 64] });
  (await numpy.matmul(one.ref, one).blockUntilReady()).dispose();

  async function products({ x, w, wt, M, N, K }: Operands): Promise<Record<string, Product>> {
    const a = numpy.array(x, { shape: [M, K] });
    const rows = numpy.array(w, { shape: [N, K] });
    const columns = numpy.array(wt, { shape: [K, N] });
    const queue = device === "webgpu" ? jax.getWebGPUDevice().queue : undefined;
    const product = (b: JaxArray, f: (a: JaxArray, b: JaxArray) => JaxArray): Product => {
      const compiled = jax.jit(f);
      return {
        run: async () => {
          const y = compiled(a.ref, b.ref);
          await y.blockUntilReady(); // what submits the work
          await queue?.onSubmittedWorkDone();
          y.dispose();
        },
        result: () => compiled(a.ref, b.ref).data(),
        close: () => b.dispose(),
      };
    };
    return {
      "x·wᵀ": product(rows, (p, q) => numpy.matmul(p, q.transpose())),
      "x·b": product(columns, (p, q) => numpy.matmul(p, q)),
    };
  }

  return {
    name: `jax-js ${device}`,
    version: versionOf("@jax-js/jax"),
    settings: device === "wasm" ? `jit, ${threads} worker(s), relaxed multiply-add where Node has it` : "jit",
    products,
  };
}
