/** Counts what kernels cost by their own declarations: arithmetic operations, bytes that must move, calls, per kernel. */

export interface KernelTotals {
  calls: number;
  flops: number;
  bytes: number;
}

export class Meter {
  readonly kernels = new Map<string, KernelTotals>();
  flops = 0;

  add(kernel: string, cost: { flops: number; bytes: number }): void {
    let totals = this.kernels.get(kernel);
    if (!totals) this.kernels.set(kernel, (totals = { calls: 0, flops: 0, bytes: 0 }));
    totals.calls++;
    totals.flops += cost.flops;
    totals.bytes += cost.bytes;
    this.flops += cost.flops;
  }

  reset(): void {
    this.kernels.clear();
    this.flops = 0;
  }
}
