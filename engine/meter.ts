/** Counts what kernels cost by their own declarations (arithmetic operations, bytes that must move, calls, per kernel), and time. */

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
  /** Time that units of work have taken (task.unit). */
  seconds = 0;

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
  }

  reset(): void {
    this.kernels.clear();
    this.flops = 0;
    this.seconds = 0;
  }
}
