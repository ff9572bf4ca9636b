// @ts-check
/**
 * Threads, and the JavaScript engine that runs them: the one module of the engine that asks Node for them, both in the
 * thread that starts others and in those. Imported when it is needed, never at the top of what a browser loads.
 * JavaScript with its types in comments, because worker threads load it as it is: loaders of TypeScript do not reach them.
 */
import { MessageChannel, Worker, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";

export { availableParallelism } from "node:os";
export { setFlagsFromString } from "node:v8";

/** @type {{ data: unknown } | null} */
// eslint-disable-next-line @typescript-eslint/no-unsafe-assignment -- Node types it as any
const start = workerData;

/** In a thread: what `new Thread` was given for it. */
export const handed = start?.data;

/** In a thread: it is ready. */
export function tellReady() {
  parentPort?.postMessage("ready");
}

/** A thread that this one started. */
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
    /** Resolves when the thread has ended. @type {Promise<void>} */
    this.ended = new Promise((resolve) => {
      this.#worker.once("exit", () => resolve());
    });
    /** Resolves when the thread is ready, rejects when it ends before. @type {Promise<void>} */
    this.ready = new Promise((resolve, reject) => {
      this.#worker.once("message", () => resolve());
      this.#worker.once("error", reject);
      this.#worker.once("exit", (code) => reject(new Error(`it ended with ${code}`)));
    });
    this.ready.catch(() => undefined); // for those who wait
  }

  /** It no longer keeps the process alive. */
  unref() {
    this.#worker.unref();
  }

  /**
   * Whether the thread is still there, found out without giving events a turn. With a thread its end of the channel closes;
   * asking this end for a message closes it, too, and a closed port cannot be handed on.
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
