/** Golden files made by PyTorch, transformers and peft (test/golden/README.md): JSON facts and named f32 tensors. */
import { at } from "../../kernels/base/at.ts";
import { readFileSync } from "node:fs";
import type { Target } from "../../templora/config.ts";

export const goldenFolder = new URL("../golden/", import.meta.url);

export interface GoldenChunk {
  readonly index: number;
  readonly start: number;
  readonly tokens: number;
  readonly context: number;
  readonly base_nll: number;
  readonly lora_nll: number;
  readonly train_loss: readonly number[];
  readonly lr: number;
}

export interface GoldenLoop {
  readonly name: string;
  readonly recipe: Readonly<
    Record<
      | "seed"
      | "chunk"
      | "window"
      | "train_window"
      | "rank"
      | "alpha"
      | "lr"
      | "warmup"
      | "epochs"
      | "dropout"
      | "beta1"
      | "beta2"
      | "eps"
      | "weight_decay"
      | "clip",
      number
    >
  > &
    Partial<Readonly<{ context_grad: boolean; reuse_cache: number }>>; // the smollm2 loop is older than these
  readonly targets: readonly Target[];
  readonly tokens: readonly number[];
  readonly chunks: readonly GoldenChunk[];
}

export interface TinyGolden {
  readonly tokens: readonly number[];
  readonly scored_from: number;
  readonly base_loss: number;
  readonly adapter: { readonly rank: number; readonly alpha: number };
  readonly adapter_loss: number;
  readonly grad_norm: number;
  readonly adamw: {
    readonly lr: number;
    readonly beta1: number;
    readonly beta2: number;
    readonly eps: number;
    readonly weight_decay: number;
    readonly clip: number;
    readonly losses: readonly number[];
    readonly grad_norms: readonly number[];
  };
  readonly loops: readonly GoldenLoop[];
}

export function readGolden<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(path, goldenFolder), "utf8")) as T;
}

/** The f32 tensors of a safetensors file that we made ourselves. */
export function readTensors(path: string): Map<string, Float32Array> {
  const file = readFileSync(new URL(path, goldenFolder));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes)) as Record<
    string,
    { data_offsets?: [number, number] }
  >;
  const tensors = new Map<string, Float32Array>();
  for (const [name, { data_offsets }] of Object.entries(header)) {
    if (!data_offsets) continue;
    const [begin, end] = data_offsets.map((o) => 8 + headerBytes + o);
    tensors.set(
      name,
      new Float32Array(file.buffer.slice(file.byteOffset + (begin ?? 0), file.byteOffset + (end ?? 0))),
    );
  }
  return tensors;
}

/**
 * ‖got − want‖ / ‖want‖, the error of a tensor as a whole. Not element by element: Adam's step is g / (|g| + eps), which turns
 * the rounding of a gradient near zero into a visible change of that one element (PyTorch's own float32 differs as much).
 */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Infinity;
  let difference = 0;
  let size = 0;
  for (let i = 0; i < want.length; i++) {
    difference += (at(got, i) - at(want, i)) ** 2;
    size += at(want, i) ** 2;
  }
  return Math.sqrt(difference / (size || 1));
}
