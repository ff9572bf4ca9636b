/** TensorFlow.js: WebAssembly (XNNPACK; SIMD, and threads made to work under Node) and WebGPU. */
import { dirname } from "node:path";
import { type Operands, type Peer, type Product, installed, versionOf } from "./peer.ts";
import { withTfjsThreads } from "./web.ts";

interface Tensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}
interface WebGpuBackend {
  readonly queue: GPUQueue;
  endComputePassEncoder(): void;
  submitQueue(): void;
}
interface Tfjs {
  env(): { set(flag: string, value: boolean): void };
  setBackend(name: string): Promise<boolean>;
  backend(): unknown;
  tensor2d(values: Float32Array, shape: [number, number]): Tensor;
  matMul(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor;
}
interface TfjsWasm {
  setThreadsCount(threads: number): void;
  getThreadsCount(): number;
}

export async function openTfjs(device: "wasm" | "webgpu", threads: number): Promise<Peer> {
  const tf = installed("@tensorflow/tfjs-core") as Tfjs;
  const plugin = `@tensorflow/tfjs-backend-${device}`;
  const start = async (): Promise<void> => {
    if (!(await tf.setBackend(device))) throw new Error(`tfjs has no ${device} here`);
  };
  if (device === "wasm") {
    const wasm = installed(plugin) as TfjsWasm;
    tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", threads > 1);
    wasm.setThreadsCount(threads);
    await (threads > 1
      ? withTfjsThreads(dirname(dirname(installed.resolve(plugin))), threads, start)
      : start());
    if (wasm.getThreadsCount() !== threads) throw new Error(`tfjs took ${wasm.getThreadsCount()} threads`);
  } else {
    installed(plugin);
    await start();
  }

  async function products({ x, w, wt, M, N, K }: Operands): Promise<Record<string, Product>> {
    await tf.setBackend(device); // tensors live on the backend of the moment
    const gpu = device === "webgpu" ? (tf.backend() as WebGpuBackend) : undefined;
    const a = tf.tensor2d(x, [M, K]);
    const product = (b: Tensor, transposed: boolean): Product => ({
      run: () => {
        const y = tf.matMul(a, b, false, transposed);
        if (!gpu) return y.dispose();
        gpu.endComputePassEncoder();
        gpu.submitQueue();
        y.dispose();
        return gpu.queue.onSubmittedWorkDone().then(() => undefined);
      },
      result: async () => {
        const y = tf.matMul(a, b, false, transposed);
        const data = await y.data();
        y.dispose();
        return data;
      },
      close: () => b.dispose(),
    });
    const plain = { "x·b": product(tf.tensor2d(wt, [K, N]), false) };
    // Transposed, the wasm backend leaves XNNPACK for a plain loop.
    return gpu ? { ...plain, "x·wᵀ": product(tf.tensor2d(w, [N, K]), true) } : plain;
  }

  return {
    name: `tfjs ${device}`,
    version: versionOf(plugin),
    settings: device === "wasm" ? `SIMD, ${threads} thread(s), packed weights kept by XNNPACK` : "defaults",
    products,
  };
}
