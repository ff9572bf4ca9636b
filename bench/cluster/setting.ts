/** What a simulation is given: the machines, the work, the queue and the store as templora has them, and what befalls machines. Seconds, bytes, tokens. */

/** What reading costs on a kind of machine. */
export interface MachineKind {
  readonly name: string;
  readonly chunk: number;
  readonly secondsPerToken: number;
  /** From the machine's start to its worker's first task. */
  readonly startSeconds: number;
  /** What a task costs beside its reading, and what a process's first task costs more. */
  readonly taskSeconds: number;
  readonly firstTaskSeconds: number;
  /** The reading waits while a state is written. */
  readonly saveSeconds: number;
}

export interface Interruptions {
  /** Mean time of a machine between two, at any moment alike; Infinity: none. */
  readonly every: number;
  /** From the notice (SIGTERM) to the end; 0: there is none. */
  readonly notice: number;
  /** Until another machine is there in its place. */
  readonly replaced: number;
}

export interface StoreRates {
  readonly bytesPerSecond: number;
  /** Of one worker at most. */
  readonly mostEach: number;
}

export interface Setting {
  readonly seed: number;
  readonly workers: number;
  /** Each text's, in the queue's order. */
  readonly tokens: readonly number[];
  readonly kind: MachineKind;
  /** `worker --checkpoint-every` and `--lock`. */
  readonly checkpointEvery: number;
  readonly lock: number;
  readonly checkpointBytes: number;
  readonly store: StoreRates;
  readonly interruptions: Interruptions;
  /** Kills at known moments instead: [seconds, worker]. */
  readonly kills?: readonly (readonly [number, number])[];
  /** A share of the machines is so much slower. */
  readonly slow?: { readonly share: number; readonly times: number };
}

/** Between two looks for work, when there was none (cli/queue/queue_worker.ts). */
export const IDLE_SECONDS = 0.5;

/** What a worker's time goes to. */
export const phases = ["starting", "waiting", "preparing", "reading", "saving", "storing"] as const;
export type Phase = (typeof phases)[number];

export interface Outcome {
  /** Until the last result. */
  readonly seconds: number;
  /** Of all machines together, while they were there. */
  readonly workerSeconds: number;
  readonly phases: Readonly<Record<Phase, number>>;
  readonly done: number;
  readonly tokens: number;
  /** Tokens that were read and not stored when their worker died. */
  readonly tokensLost: number;
  readonly interruptions: number;
  /** Of one task, at most. BullMQ gives a task up after 50. */
  readonly mostLosses: number;
  readonly checkpoints: number;
  readonly storeBytes: number;
  readonly events: number;
}
