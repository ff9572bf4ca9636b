/** What the peers expect of a browser and Node lacks: `navigator`, web workers made from blobs, writes from shared memory. */
import { resolveObjectURL } from "node:buffer";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";

/** With a `gpu` of Dawn, our own device uses the same instance, hence the same adapter. */
export function provideNavigator(threads: number, gpu: GPU | undefined): void {
  const value = { userAgent: "", hardwareConcurrency: threads, gpu };
  Object.defineProperty(globalThis, "navigator", { value, configurable: true });
}

/** Runs a web worker's script: messages that come before it is loaded wait. */
const WEB_WORKER = `
  const { parentPort, workerData } = require("node:worker_threads");
  globalThis.self = globalThis;
  globalThis.postMessage = (message) => parentPort.postMessage(message);
  const early = [];
  const keep = (data) => early.push(data);
  parentPort.on("message", keep);
  workerData.text().then((script) => {
    (0, eval)(script);
    parentPort.off("message", keep);
    parentPort.on("message", (data) => onmessage({ data }));
    for (const data of early) onmessage({ data });
  });`;

/** The part of a web Worker that jax-js uses. */
class WebWorker {
  onmessage: ((event: { data: unknown }) => void) | undefined;
  onerror: ((error: unknown) => void) | undefined;
  readonly #worker: Worker;

  constructor(url: string) {
    this.#worker = new Worker(WEB_WORKER, { eval: true, execArgv: [], workerData: resolveObjectURL(url) });
    this.#worker.on("message", (data: unknown) => this.onmessage?.({ data }));
    this.#worker.on("error", (error) => this.onerror?.(error));
  }

  postMessage(message: unknown): void {
    this.#worker.postMessage(message);
  }
}

export function provideWorker(): void {
  Object.assign(globalThis, { Worker: WebWorker });
}

/** Dawn under Node refuses to write from shared memory, which browsers do: onnxruntime's module lies in some. */
export function acceptSharedArrays(): void {
  const { prototype } = (globalThis as unknown as { GPUQueue: { prototype: Pick<GPUQueue, "writeBuffer"> } })
    .GPUQueue;
  const write = Reflect.get(prototype, "writeBuffer") as (...parts: unknown[]) => undefined;
  prototype.writeBuffer = function (...parts: unknown[]): undefined {
    const copied = parts.map((part) =>
      part instanceof Uint8Array && part.buffer instanceof SharedArrayBuffer ? part.slice() : part,
    );
    return write.apply(this, copied);
  };
}

/** CommonJS modules see what is assigned here; what ES modules imported keeps its value. */
const commonJs = createRequire(import.meta.url);

/**
 * Lets tfjs' threaded build start under Node while `start` runs. It looks for its worker script and its module behind
 * blob URLs, which Node's Worker and importScripts do not read; and it takes half the cores of os.cpus for the most
 * threads it may use.
 */
export async function withTfjsThreads<T>(
  folder: string,
  threads: number,
  start: () => Promise<T>,
): Promise<T> {
  const built = `${folder}/wasm-out/tfjs-backend-wasm-threaded-simd`;
  const { wasmWorkerContents } = commonJs(`${built}.worker.js`) as { wasmWorkerContents: string };
  const script = wasmWorkerContents.replace(/\n/g, "\\n"); // the file's string literals lost an escape
  class TfjsWorker extends Worker {
    constructor() {
      super(script, { eval: true, execArgv: [] });
    }

    override postMessage(message: { cmd?: string }): void {
      super.postMessage(message.cmd === "load" ? { ...message, urlOrBlob: `${built}.js` } : message);
    }
  }
  const workers = commonJs("node:worker_threads") as { Worker: unknown };
  const os = commonJs("node:os") as { cpus: unknown };
  const web = globalThis as { Worker?: unknown };
  const before = { Worker: workers.Worker, cpus: os.cpus, web: web.Worker };
  workers.Worker = TfjsWorker;
  os.cpus = () => Array.from({ length: 2 * threads }, () => ({}));
  try {
    return await start();
  } finally {
    workers.Worker = before.Worker;
    os.cpus = before.cpus;
    web.Worker = before.web; // tfjs puts Node's there
  }
}
