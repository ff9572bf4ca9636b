/** What is fuzzed: a reader, or several that belong together. */
export interface Target {
  /** Reads an input out of `folder`, where it may put it. What it throws is judged (judge.ts). */
  run(input: Uint8Array, folder: string): unknown;
  /** Once, before all. `folder`: as of `run`. */
  prepare?(folder: string): void;
  /** Errors that are right beside BadInputError. */
  readonly expected?: (error: Error) => boolean;
}

/** What no input may go beyond. */
export interface Limits {
  /** Of the processor's time. */
  readonly seconds: number;
  /** Memory: so many bytes, and so many for each byte of the input. */
  readonly bytes: number;
  readonly perByte: number;
}

export const LIMITS: Limits = { seconds: 2, bytes: 64 * 2 ** 20, perByte: 256 };

export type Kind = "error" | "message" | "hang" | "memory" | "trespass" | "prototype" | "death";

export interface Fault {
  readonly kind: Kind;
  /** In one line. */
  readonly what: string;
  /** Faults with the same are one. */
  readonly key: string;
}
