/**
 * The modules that peft adapts, and the linear layers that templora does. Mostly they are the same; but where transformers keeps
 * several layers in one module, one below the other (Phi's qkv_proj), peft has one A and one B for what has a pair for each layer here.
 * Either can be said as the other: a layer has the module's A and its own rows of B; a module has its layers' As one below the other,
 * and their Bs along the diagonal of a matrix that is 0 elsewhere.
 */
import { at } from "../kernels/base/at.ts";
import { type TensorSpec, tensorsOf } from "../model/family.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import type { ModelFiles } from "../model/model_files.ts";
import type { Lora, LoraShape } from "./stored_adapter.ts";

export interface LinearModule {
  /** In transformers' models, such as model.layers.0.self_attn.q_proj. */
  readonly name: string;
  readonly inputs: number;
  /** In the order of their rows. */
  readonly layers: readonly { readonly name: LinearName; readonly rows: number }[];
}

/** Those of each block of a model. */
export type Modules = readonly (readonly LinearModule[])[];

export function modulesOf({ family, config }: Pick<ModelFiles, "family" | "config">): Modules {
  return tensorsOf(family, config).layers.map((block) => {
    const wholeOf = (name: LinearName): Pick<TensorSpec, "name"> => block[name].within ?? block[name];
    const names = new Set(linearNames.map((name) => wholeOf(name).name));
    return [...names].map((weight) => {
      const layers = linearNames.filter((name) => wholeOf(name).name === weight);
      return {
        name: weight.replace(/\.weight$/, ""),
        inputs: at(block[at(layers, 0)].shape, 1),
        layers: layers.map((name) => ({ name, rows: at(block[name].shape, 0) })),
      };
    });
  });
}

export const rowsOf = ({ layers }: LinearModule): number => layers.reduce((sum, { rows }) => sum + rows, 0);

/**
 * A module's LoRA as those of its layers. A layer has the columns of B, with the rows of A that they stand for, in which its own rows are
 * not all 0, and so of a LoRA that `joined` made just what it was made of; a column that is 0 in all rows is every layer's.
 */
export function split({ inputs, layers }: LinearModule, { rank, scale, A, B }: Lora): Map<LinearName, Lora> {
  const columns = Array.from({ length: rank }, (_, k) => k);
  const unused = new Set(columns.filter((k) => isZero(B, k, rank)));
  const loras = new Map<LinearName, Lora>();
  let from = 0;
  for (const { name, rows } of layers) {
    const part = B.subarray(rank * from, rank * (from + rows));
    from += rows;
    const own = columns.filter((k) => unused.has(k) || !isZero(part, k, rank));
    if (own.length === 0) continue;
    const [a, b] = [new Float32Array(own.length * inputs), new Float32Array(rows * own.length)];
    for (const [i, k] of own.entries()) {
      a.set(A.subarray(k * inputs, (k + 1) * inputs), i * inputs);
      for (let row = 0; row < rows; row++) b[row * own.length + i] = at(part, row * rank + k);
    }
    loras.set(name, { rank: own.length, scale, A: a, B: b });
  }
  return loras;
}

function isZero(B: Float32Array, column: number, rank: number): boolean {
  for (let i = column; i < B.length; i += rank) if (B[i] !== 0) return false;
  return true;
}

/** What the LoRAs of a module's layers are together; null where there is none. */
export function joinedShape(
  { layers }: LinearModule,
  loras: ReadonlyMap<LinearName, LoraShape>,
): LoraShape | null {
  const own = layers.flatMap(({ name }) => loras.get(name) ?? []);
  return own[0] ? { rank: own.reduce((sum, { rank }) => sum + rank, 0), scale: own[0].scale } : null;
}

/** The B of a module's layers, of the joined `shape`; its A is theirs, one below the other. */
export function joinedB(
  module: LinearModule,
  loras: ReadonlyMap<LinearName, Lora>,
  { rank, scale }: LoraShape,
): Float32Array {
  const B = new Float32Array(rowsOf(module) * rank);
  let [row, column] = [0, 0];
  for (const { name, rows } of module.layers) {
    const lora = loras.get(name);
    if (lora) {
      for (const [i, b] of lora.B.entries())
        B[(row + Math.floor(i / lora.rank)) * rank + column + (i % lora.rank)] = (b * lora.scale) / scale;
      column += lora.rank;
    }
    row += rows;
  }
  return B;
}
