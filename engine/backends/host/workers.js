// @ts-check
/**
 * Worker threads and V8's flags: the only module that uses Node for them, in the main thread and in the workers. Imported when
 * it is needed, never at the top of a module that a browser loads. Why JavaScript: README.md of ../cpu.
 */
import { MessageChannel, Worker, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";

export { availableParallelism } from "node:os";
export { setFlagsFromString } from "node:v8";

/** @type {{ data: unknown } | null} */
// eslint-disable-next-line @typescript-eslint/no-unsafe-assignment -- Node types it as any
const start = workerData;

/** In a worker: the `data` that `new Thread` was given. */
export const handed = start?.data;

/** In a worker: makes `ready` of its Thread resolve. */
export function tellReady() {
  parentPort?.postMessage("ready");
}

/** In a worker: calls `heard` with each message that its Thread posts. @param {(message: unknown) => void} heard */
export function listen(heard) {
  parentPort?.on("message", heard);
}

/** In a worker: `onMessage` of its Thread gets this. @param {unknown} message @param {ArrayBuffer[]} transfer */
export function tell(message, transfer = []) {
  parentPort?.postMessage(message, transfer);
}

/** What a thread runs that is to load a module of this package, which may be TypeScript: `data` has its address as `module`. */
export const START = new URL("./start.js", import.meta.url);

/** A worker thread, in the thread that started it. */
export class Thread {
  #worker;
  /** This end of a channel whose other end the thread holds as long as it lives. */
  #pulse;

  /**
   * @param {URL} script
   * @param {unknown} data
   * @param {string} name
   */
  constructor(script, data, name) {
    const { port1, port2 } = new MessageChannel();
    this.#pulse = port1;
    this.#worker = new Worker(script, {
      ...{ name, workerData: { data, pulse: port2 }, transferList: [port2] },
      execArgv: [], // a loader among the main thread's options (tsx) would only slow the start
    });
    /** Resolves when the thread has ended, with the reason. @type {Promise<string>} */
    this.ended = new Promise((resolve) => {
      this.#worker.once("error", (error) => resolve(error.message));
      this.#worker.once("exit", (code) => resolve(`it ended with ${code}`));
    });
    /** Resolves when the thread is ready, rejects when it ends before. @type {Promise<void>} */
    this.ready = new Promise((resolve, reject) => {
      this.#worker.once("message", () => resolve());
      this.#worker.once("error", reject);
      this.#worker.once("exit", (code) => reject(new Error(`it ended with ${code}`)));
    });
    this.ready.catch(() => undefined); // no unhandled rejection; whoever awaits `ready` still gets it
  }

  /** It no longer keeps the process alive. */
  unref() {
    this.#worker.unref();
  }

  /** It keeps the process alive again. */
  ref() {
    this.#worker.ref();
  }

  /** @param {unknown} message */
  post(message) {
    this.#worker.postMessage(message);
  }

  /** Calls `heard` with each message of the thread's from now on. @param {(message: unknown) => void} heard */
  onMessage(heard) {
    this.#worker.on("message", heard);
  }

  /**
   * Whether the thread still runs, found out without a turn of the event loop. When a thread ends, its end of the channel
   * closes; receiving on this end then closes it, too, and a closed port cannot be transferred.
   */
  isAlive() {
    receiveMessageOnPort(this.#pulse);
    try {
      this.#pulse = structuredClone(this.#pulse, { transfer: [this.#pulse] });
      return true;
    } catch {
      return false;
    }
  }

  /** Resolves when the thread has ended. */
  async terminate() {
    await this.#worker.terminate();
  }
}
