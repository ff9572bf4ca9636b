/**
 * What the generated tests found, for docs/support.md (scripts/tables.ts): one file each in the folder that
 * `test/run.ts --record FOLDER` names. `npm run support` makes the committed ones.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What a conformance run saw of one kernel. */
export interface KernelRecord {
  /** Cases × builds, threads and plans. */
  readonly comparisons: number;
  /** The largest |got − reference| / bound; 0 where the values are exact. */
  readonly share: number;
}

export interface DeviceRecord {
  readonly device: string;
  readonly seed: number;
  readonly kernels: Readonly<Record<string, KernelRecord>>;
}

export interface GradientRecord {
  readonly seed: number;
  /** By op: the inputs whose gradients agree with the differences, and in how many checks. */
  readonly ops: Readonly<Record<string, { readonly inputs: readonly string[]; readonly checks: number }>>;
}

/** How far the tiny model of each family is from what it is held to. */
export interface FamilyRecord {
  readonly device: string;
  /** What it is held to. */
  readonly versions: string;
  readonly bound: number;
  /** By model_type: the largest relative error. */
  readonly errors: Readonly<Record<string, number>>;
}

export function record(name: string, content: DeviceRecord | GradientRecord | FamilyRecord): void {
  const folder = process.env.TEMPLORA_TEST_RECORD;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(content, null, 1)}\n`);
}
