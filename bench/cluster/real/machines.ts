/** Workers on this machine, each held to a share of a core (by cpulimit, of that package) as if on a slow machine of its own; killed and replaced at given moments. */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { readersOf } from "../processes.ts";
import { type WorkerProcess, startWorker } from "../../../test/support/queue.ts";

export interface Machines {
  readonly count: number;
  readonly argv: readonly string[];
  /** Percent of a core that each worker's child has. */
  readonly percent: number;
  readonly kills: readonly (readonly [seconds: number, worker: number])[];
  readonly replaced: number;
}

const LOOK_MS = 10;

export class RunningMachines implements AsyncDisposable {
  readonly #machines: Machines;
  readonly workers: WorkerProcess[] = [];
  readonly #at: (WorkerProcess | null)[];
  readonly #limits = new Map<number, ChildProcess>();
  readonly #holding: Promise<void>;
  #ended = false;
  killed = 0;

  constructor(machines: Machines) {
    this.#machines = machines;
    this.#at = Array.from({ length: machines.count }, () => this.#start());
    for (const [seconds, worker] of machines.kills) void this.#kill(seconds, worker);
    this.#holding = this.#hold();
  }

  #start(): WorkerProcess {
    const worker = startWorker(this.#machines.argv);
    this.workers.push(worker);
    return worker;
  }

  async #kill(seconds: number, i: number): Promise<void> {
    await setTimeout(1000 * seconds, undefined, { ref: false });
    if (this.#ended) return;
    this.killed++;
    this.#at[i]?.kill("SIGKILL", true);
    this.#at[i] = null;
    await setTimeout(1000 * this.#machines.replaced, undefined, { ref: false });
    if (!this.#ended) this.#at[i] = this.#start();
  }

  /** Limits each reader as soon as it is there. */
  async #hold(): Promise<void> {
    for (; !this.#ended; await setTimeout(LOOK_MS))
      for (const worker of this.#at)
        for (const reader of worker ? readersOf(worker.pid) : [])
          if (!this.#limits.has(reader)) {
            const args = ["-l", String(this.#machines.percent), "-z", "-p", String(reader)];
            this.#limits.set(reader, spawn("cpulimit", args, { stdio: "ignore" }));
          }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await this.#holding;
    for (const limit of this.#limits.values()) limit.kill("SIGINT"); // it lets go on what it has stopped
    for (const worker of this.#at) worker?.kill("SIGTERM");
    await Promise.all(this.workers.map(({ ended }) => ended));
  }
}
