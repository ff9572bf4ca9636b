/** Counts what kernels cost by their own declarations, for each kernel, and the time of units of work. */

/** What one call takes: arithmetic operations, and bytes that must move between memory and processor. */
export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

export interface KernelTotals {
  calls: number;
  flops: number;
  bytes: number;
}

export class Meter {
  readonly kernels = new Map<string, KernelTotals>();
  flops = 0;
  bytes = 0;
  /** Seconds of the units that have ended. */
  #seconds = 0;
  /** When the unit that runs began; null between units. */
  #since: number | null = null;

  /** Seconds that units of work (task.unit) have taken, the running one included. */
  get seconds(): number {
    return this.#seconds + (this.#since === null ? 0 : (performance.now() - this.#since) / 1000);
  }

  /** Runs `work` and counts its time. One at a time. */
  async timed<T>(work: () => Promise<T>): Promise<T> {
    this.#since = performance.now();
    try {
      return await work();
    } finally {
      this.#seconds = this.seconds;
      this.#since = null;
    }
  }

  add(kernel: string, cost: Cost): void {
    let totals = this.kernels.get(kernel);
    if (!totals) {
      totals = { calls: 0, flops: 0, bytes: 0 };
      this.kernels.set(kernel, totals);
    }
    totals.calls++;
    totals.flops += cost.flops;
    totals.bytes += cost.bytes;
    this.flops += cost.flops;
    this.bytes += cost.bytes;
  }

  reset(): void {
    this.kernels.clear();
    this.flops = 0;
    this.bytes = 0;
    this.#seconds = 0;
    if (this.#since !== null) this.#since = performance.now();
  }
}
