/**
 * Loads a model's tensors onto a device, in their storage formats. Layers that read the same input lie one after the other
 * in one buffer, so that a single token goes through them in one product (`linearGroup`).
 */
import { at } from "../kernels/base/at.ts";
import type { Device } from "../engine/device.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError, NonFiniteError, ShapeError } from "../engine/errors.ts";
import { type Tensor, allocate, canDivide } from "../engine/tensor.ts";
import { elements } from "../kernels/base/shape.ts";
import { type WeightDType, brokenBlock, formats, widen } from "../kernels/formats/index.ts";
import type { ModelFiles, TensorEntry } from "./model_files.ts";
import { type LayerTensors, type TensorSpec, tensorsOf } from "./family.ts";
import { type LinearName, linearNames, sharedInputs } from "./layers.ts";
import { RowNorms } from "./row_norms.ts";

/** Bytes. Larger groups stay apart: one product more costs little beside reading them, and bindings have limits. */
const MAX_GROUP = 64 * 2 ** 20;

export type LayerWeights = LayerTensors<Tensor>;

/** Owned by whoever loads them; shared by tasks. */
export interface ModelWeights extends Disposable {
  readonly embed_tokens: Tensor; // [vocab_size, hidden_size]
  readonly layers: readonly LayerWeights[];
  /** Of each block's linear layers: the root mean square of the norms of the weight's rows (row_norms.ts); 1 where it is not filled. */
  readonly rowNorms: readonly Readonly<Record<LinearName, number>>[];
  readonly norm: Tensor; // [hidden_size]
  /** [vocab_size, hidden_size]; the embedding table itself when tied. */
  readonly lm_head: Tensor;
}

/** Called with the bytes that are done and the bytes in all. */
export type OnProgress = (done: number, total: number) => void;

export interface LoadWeightsOptions {
  readonly onProgress?: OnProgress | undefined;
  /** False: memory alone, whose contents are undefined. */
  readonly filled?: boolean;
}

export async function loadWeights(
  device: Device,
  modelFiles: ModelFiles,
  options: LoadWeightsOptions = {},
): Promise<ModelWeights> {
  using stack = new DisposableStack();
  const { family, config } = modelFiles;
  const loader = new Loader(device, modelFiles, stack, options);
  const { embed_tokens, norm, lm_head, layers: specs } = tensorsOf(family, config);
  const table = await loader.matrix(embed_tokens);
  const layers: LayerWeights[] = [];
  for (const spec of specs) layers.push(await loader.layer(spec));
  const weights = {
    embed_tokens: table,
    layers,
    rowNorms: specs.map((spec) => loader.rowNorms(spec)),
    norm: await loader.vector(norm),
    lm_head: lm_head === embed_tokens ? table : await loader.matrix(lm_head),
  };
  const owned = stack.move();
  return { ...weights, [Symbol.dispose]: () => owned[Symbol.dispose]() };
}

/** Throws where a tensor's bytes hold NaN or an infinity. `where` names it. */
export function assertFinite(dtype: WeightDType, bytes: Uint8Array, where: string): void {
  const size = formats[dtype].bytes;
  const broken = brokenBlock(dtype, bytes);
  if (broken < 0) return;
  const values = widen(dtype, bytes.subarray(broken * size, (broken + 1) * size));
  throw new NonFiniteError(
    `${where} holds ${values.find((x) => !Number.isFinite(x))}; ` +
      "the file is damaged, or its numbers overflowed when it was made",
  );
}

class Loader {
  readonly #device: Device;
  readonly #modelFiles: ModelFiles;
  readonly #stack: DisposableStack;
  readonly #onProgress: OnProgress | undefined;
  readonly #filled: boolean;
  readonly #total: number;
  /** By the tensors' names. */
  readonly #rowNorms = new Map<string, RowNorms>();
  #done = 0;

  constructor(
    device: Device,
    modelFiles: ModelFiles,
    stack: DisposableStack,
    { onProgress, filled = true }: LoadWeightsOptions,
  ) {
    this.#device = device;
    this.#modelFiles = modelFiles;
    this.#stack = stack;
    this.#onProgress = onProgress;
    this.#filled = filled;
    this.#total = [...modelFiles.tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  async layer(specs: LayerTensors<TensorSpec>): Promise<LayerWeights> {
    const made: Partial<Record<keyof LayerWeights, Tensor>> = {};
    for (const group of sharedInputs) {
      const tensors = await this.#group(group.map((name) => specs[name]));
      for (const [i, name] of group.entries()) made[name] = at(tensors, i);
    }
    for (const [name, spec] of Object.entries(specs) as [keyof LayerWeights, TensorSpec][])
      made[name] ??= await (linearNames.includes(name as LinearName) ? this.matrix(spec) : this.vector(spec));
    return made as LayerWeights;
  }

  /** Of a block that is loaded. */
  rowNorms(specs: LayerTensors<TensorSpec>): Record<LinearName, number> {
    const of = (name: LinearName): number => this.#rowNorms.get(specs[name].name)?.mean ?? 1;
    return Object.fromEntries(linearNames.map((name) => [name, of(name)])) as Record<LinearName, number>;
  }

  /** In its storage format. */
  async matrix({ name }: TensorSpec): Promise<Tensor> {
    const { shape, dtype } = this.#entry(name);
    const tensor = this.#stack.use(allocate(this.#device, shape, dtype, name));
    await this.#fill(tensor, name);
    return tensor;
  }

  /** Gains and biases are read as f32 by their kernels, whatever the file holds. */
  async vector({ name }: TensorSpec): Promise<Tensor> {
    const { shape, dtype, lessOne } = this.#entry(name);
    const tensor = this.#stack.use(allocate(this.#device, shape, "f32", name));
    if (!this.#filled) return tensor;
    const bytes = await this.#modelFiles.read(name);
    this.#check(bytes, name);
    this.#device.write(
      tensor.view,
      Float32Array.from(widen(dtype, bytes), (x) => (lessOne ? 1 + x : x)),
    );
    return tensor;
  }

  /** Matrices as runs of rows of one buffer, where that can be: same width, same format, and the device takes such views. */
  async #group(specs: readonly TensorSpec[]): Promise<Tensor[]> {
    const entries = specs.map(({ name }) => this.#entry(name));
    const { dtype, shape } = at(entries, 0);
    const alike = entries.every((entry) => entry.dtype === dtype && entry.shape[1] === shape[1]);
    const small = entries.reduce((sum, { bytes }) => sum + bytes, 0) <= MAX_GROUP;
    const sizes = entries.map((entry) => elements(entry.shape));
    const group: Tensor[] = [];
    if (!alike || !small || !canDivide(this.#device, dtype, sizes)) {
      for (const spec of specs) group.push(await this.matrix(spec));
      return group;
    }
    const rows = entries.reduce((sum, entry) => sum + at(entry.shape, 0), 0);
    const label = specs.map(({ name }) => name).join(", ");
    using all = allocate(this.#device, [rows, at(shape, 1)], dtype, label); // its parts hold the memory
    let offset = 0;
    for (const [i, { name }] of specs.entries()) {
      const part = this.#stack.use(all.alias(at(entries, i).shape, offset));
      offset += at(sizes, i);
      await this.#fill(part, name);
      group.push(part);
    }
    return group;
  }

  #entry(name: string): TensorEntry {
    const entry = this.#modelFiles.tensors.get(name);
    if (!entry) throw new BadInputError(`${this.#modelFiles.source}: tensor ${name} is missing`);
    return entry;
  }

  async #fill({ view, dtype, shape, length }: Tensor, name: string): Promise<void> {
    if (!this.#filled) return;
    const { bytes: size, block } = formats[dtype as WeightDType];
    const norms = new RowNorms(dtype as WeightDType, [at(shape, 0), at(shape, 1)]);
    this.#rowNorms.set(name, norms);
    let done = 0;
    for await (const part of this.#modelFiles.parts(name)) {
      this.#check(part, name);
      norms.add(done, part);
      const some = { offset: view.offset + done, length: (part.length / size) * block };
      if (done + some.length <= length) this.#device.write({ ...view, ...some }, part);
      done += some.length;
    }
    if (done !== length) throw new ShapeError(name, `${done} elements are no ${dtype}[${shape.join(", ")}]`);
  }

  /** Refuses bytes that are not all finite numbers: kernels that widen make other numbers of what is not. */
  #check(bytes: Uint8Array, name: string): void {
    const { dtype, inFile } = this.#entry(name);
    assertFinite(dtype, bytes, `${this.#modelFiles.source}: tensor ${inFile}`);
    this.#done += bytes.byteLength;
    this.#onProgress?.(this.#done, this.#total);
  }
}
