/** Timestamps around each dispatch, summed by kernel name. For benches: a pass per dispatch costs a little itself. */

export interface KernelTime {
  ms: number;
  calls: number;
}

export class Profiler {
  /** Dispatches one batch may hold: WebGPU's largest query set holds 4096 timestamps. */
  readonly capacity = 2048;
  readonly #device: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #reads: Promise<void>[] = [];
  #labels: string[] = [];
  #staging: GPUBuffer | undefined;
  #times = new Map<string, KernelTime>();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#queries = device.createQuerySet({ type: "timestamp", count: 2 * this.capacity });
    const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
    this.#resolved = device.createBuffer({ label: "timestamps", size: 16 * this.capacity, usage });
  }

  next(label: string): GPUComputePassTimestampWrites {
    const at = 2 * this.#labels.length;
    this.#labels.push(label);
    return { querySet: this.#queries, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
  }

  /** Ends a batch's commands with the copy of its timestamps. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.#labels.length === 0) return;
    const size = 16 * this.#labels.length;
    encoder.resolveQuerySet(this.#queries, 0, 2 * this.#labels.length, this.#resolved, 0);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    this.#staging = this.#device.createBuffer({ label: "timestamps read back", size, usage });
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#staging, 0, size);
  }

  /** After the submit: fetches them. */
  collect(): void {
    const staging = this.#staging;
    if (!staging) return;
    const labels = this.#labels;
    this.#labels = [];
    this.#staging = undefined;
    const read = staging.mapAsync(GPUMapMode.READ).then(() => {
      const stamps = new BigUint64Array(staging.getMappedRange());
      labels.forEach((label, i) => {
        const time = this.#times.get(label) ?? { ms: 0, calls: 0 };
        time.ms += Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e6;
        time.calls++;
        this.#times.set(label, time);
      });
      staging.destroy();
    });
    this.#reads.push(read);
  }

  async take(): Promise<ReadonlyMap<string, KernelTime>> {
    await Promise.all(this.#reads.splice(0));
    const times = this.#times;
    this.#times = new Map();
    return times;
  }
}
