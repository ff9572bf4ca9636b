/** Timestamps around each dispatch, summed by kernel name. For benches: a pass per dispatch costs a little itself. */
import { at } from "../../../kernels/base/at.ts";
import { type KernelTime, KernelTimes } from "../common.ts";

export class Profiler {
  /** Dispatches one batch may hold: WebGPU's largest query set holds 4096 timestamps. */
  readonly capacity = 2048;
  readonly #device: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #reads: Promise<void>[] = [];
  #labels: string[] = [];
  readonly #times = new KernelTimes();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#queries = device.createQuerySet({ type: "timestamp", count: 2 * this.capacity });
    const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
    this.#resolved = device.createBuffer({ label: "timestamps", size: 16 * this.capacity, usage });
  }

  /** Where the next dispatch writes its two timestamps. */
  next(label: string): GPUComputePassTimestampWrites {
    const at = 2 * this.#labels.length;
    this.#labels.push(label);
    return { querySet: this.#queries, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
  }

  /** Appends the copy of a batch's timestamps to its commands. Call the returned function after the submit: it reads them. */
  resolve(encoder: GPUCommandEncoder): (() => void) | undefined {
    const labels = this.#labels;
    if (labels.length === 0) return undefined;
    this.#labels = [];
    const size = 16 * labels.length;
    encoder.resolveQuerySet(this.#queries, 0, 2 * labels.length, this.#resolved, 0);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const staging = this.#device.createBuffer({ label: "timestamps read back", size, usage });
    encoder.copyBufferToBuffer(this.#resolved, 0, staging, 0, size);
    return () => {
      const read = this.#collect(labels, staging).finally(() => staging.destroy());
      read.catch(() => undefined); // no unhandled rejection; `take` still gets it
      this.#reads.push(read);
    };
  }

  async #collect(labels: readonly string[], staging: GPUBuffer): Promise<void> {
    await staging.mapAsync(GPUMapMode.READ);
    const stamps = new BigUint64Array(staging.getMappedRange());
    labels.forEach((label, i) => {
      const nanoseconds = at(stamps, 2 * i + 1) - at(stamps, 2 * i);
      this.#times.add(label, Number(nanoseconds) / 1e6);
    });
  }

  /** Times since the last call, by label. */
  async take(): Promise<ReadonlyMap<string, KernelTime>> {
    await Promise.all(this.#reads.splice(0));
    return this.#times.take();
  }
}
