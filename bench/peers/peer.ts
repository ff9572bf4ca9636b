/** What peers.bench.ts asks of a library, and how one that is no dependency of ours is loaded. */
import { createRequire } from "node:module";

/** y[M, N] = x[M, K] · w[N, K]ᵀ, a linear layer. */
export interface Shape {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

export interface Operands extends Shape {
  readonly x: Float32Array;
  readonly w: Float32Array;
  /** [K, N]: w transposed, for a library that is faster with it. */
  readonly wt: Float32Array;
}

/** One product with its operands on the device. */
export interface Product {
  /** Computes it once, leaves the result on the device and drops the one before; done when it returns or resolves. */
  run(): void | Promise<void>;
  /** Computes it once and reads the result back. */
  result(): Promise<ArrayLike<number>>;
  close(): void | Promise<void>;
}

export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly settings: string;
  /** Ways to compute the product, by name; the fastest in a short trial is the one that counts. */
  products(operands: Operands): Promise<Readonly<Record<string, Product>>>;
}

export const installed = createRequire(import.meta.url);

/** A module from bench/peers/node_modules, whose types are none of this project's. */
export async function load<T>(name: string): Promise<T> {
  return (await import(name)) as T;
}

export function versionOf(name: string): string {
  const paths = installed.resolve.paths(name) ?? [];
  for (const path of paths) {
    try {
      return (installed(`${path}/${name}/package.json`) as { version: string }).version;
    } catch {
      continue; // not in this folder
    }
  }
  throw new Error(`${name} is not installed`);
}
