/**
 * onnxruntime-web, its WebAssembly and its WebGPU build: one MatMul whose weight is a constant of the model, so that it is
 * packed once.
 */
import { entry } from "../../kernels/base/at.ts";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { type Operands, type Peer, type Product, installed, load, versionOf } from "./peer.ts";
import { acceptSharedArrays } from "./web.ts";

interface Tensor {
  readonly data: Float32Array;
  getData(): Promise<Float32Array>;
  dispose(): void;
}
interface OnnxRuntime {
  readonly env: {
    readonly wasm: { numThreads: number; wasmPaths?: string; wasmBinary?: ArrayBufferLike };
    readonly webgpu: { readonly device: Promise<GPUDevice> };
    logLevel: string;
  };
  readonly Tensor: {
    new (type: "float32", data: Float32Array, dims: readonly number[]): Tensor;
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: "float32"; dims: readonly number[] }): Tensor;
  };
  readonly InferenceSession: {
    create(model: Uint8Array, options: object): Promise<Session>;
  };
}
interface Session {
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

export function openOnnxRuntime(device: "wasm" | "webgpu", threads: number): Promise<Peer> {
  return device === "wasm" ? openWasm(threads) : openWebGpu();
}

async function openWasm(threads: number): Promise<Peer> {
  const ort = await load<OnnxRuntime>("onnxruntime-web");
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";

  async function products({ x, wt, M, N, K }: Operands): Promise<Record<string, Product>> {
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    const session = await ort.InferenceSession.create(matmulModel(wt, M, N, K), options);
    if (ort.env.wasm.numThreads !== threads)
      throw new Error(`onnxruntime took ${ort.env.wasm.numThreads} threads`);
    const feeds = { x: new ort.Tensor("float32", x, [M, K]) };
    const product: Product = {
      run: () => session.run(feeds).then(() => undefined),
      result: async () => entry(await session.run(feeds), "y").data,
      close: () => session.release(),
    };
    return { "x·b": product };
  }

  return {
    name: "onnxruntime-web wasm",
    version: versionOf("onnxruntime-web"),
    settings: `SIMD, ${threads} thread(s), constant weight; x and y cross between JavaScript and wasm in each run`,
    products,
  };
}

/** x and y stay in GPU buffers. */
async function openWebGpu(): Promise<Peer> {
  acceptSharedArrays();
  const dist = dirname(installed.resolve("onnxruntime-web"));
  // Its package offers this build to browsers alone.
  const ort = await load<OnnxRuntime>(pathToFileURL(`${dist}/ort.webgpu.min.mjs`).href);
  ort.env.wasm.numThreads = 1; // of what runs beside the GPU
  ort.env.wasm.wasmPaths = `${pathToFileURL(dist).href}/`;
  ort.env.wasm.wasmBinary = Uint8Array.from(
    readFileSync(`${dist}/ort-wasm-simd-threaded.asyncify.wasm`),
  ).buffer;
  ort.env.logLevel = "error";

  async function products({ x, wt, M, N, K }: Operands): Promise<Record<string, Product>> {
    const session = await ort.InferenceSession.create(matmulModel(wt, M, N, K), {
      executionProviders: ["webgpu"],
      graphOptimizationLevel: "all",
      preferredOutputLocation: "gpu-buffer",
    });
    const device = await ort.env.webgpu.device;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const buffer = device.createBuffer({ size: x.byteLength, usage });
    device.queue.writeBuffer(buffer, 0, Float32Array.from(x));
    const feeds = { x: ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: [M, K] }) };
    const product: Product = {
      run: async () => {
        const y = entry(await session.run(feeds), "y");
        await device.queue.onSubmittedWorkDone();
        y.dispose();
      },
      result: async () => {
        const y = entry(await session.run(feeds), "y");
        const data = await y.getData();
        y.dispose();
        return data;
      },
      close: async () => {
        await session.release();
        buffer.destroy();
      },
    };
    return { "x·b": product };
  }

  return {
    name: "onnxruntime-web webgpu",
    version: versionOf("onnxruntime-web"),
    settings: "constant weight, x and y in GPU buffers",
    products,
  };
}

/** An ONNX model, y = MatMul(x, b), as protocol-buffer bytes (field numbers of onnx.proto3). */
function matmulModel(b: Float32Array, M: number, N: number, K: number): Uint8Array {
  const FLOAT = 1;
  const value = (name: string, dims: readonly number[]): Buffer => {
    const shape = dims.map((dim) => bytes(1, number(1, dim)));
    return Buffer.concat([text(1, name), bytes(2, bytes(1, number(1, FLOAT), bytes(2, ...shape)))]);
  };
  const raw = Buffer.from(b.buffer, b.byteOffset, b.byteLength);
  const weight = Buffer.concat([number(1, K), number(1, N), number(2, FLOAT), text(8, "b"), bytes(9, raw)]);
  const node = Buffer.concat([text(1, "x"), text(1, "b"), text(2, "y"), text(4, "MatMul")]);
  const graph = [
    bytes(1, node),
    text(2, "matmul"),
    bytes(5, weight),
    bytes(11, value("x", [M, K])),
    bytes(12, value("y", [M, N])),
  ];
  return Buffer.concat([number(1, 8), bytes(7, ...graph), bytes(8, number(2, 17))]);
}

function varint(value: number): Buffer {
  const out: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Buffer.from([...out, value]);
}

function number(field: number, value: number): Buffer {
  return Buffer.concat([varint(field * 8), varint(value)]);
}

function bytes(field: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
}

function text(field: number, value: string): Buffer {
  return bytes(field, Buffer.from(value));
}
