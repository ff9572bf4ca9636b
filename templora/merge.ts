/**
 * A model and an adapter in one: every weight w beside which the adapter has a LoRA becomes w + s·B·A, in float64, and is rounded once.
 * Tensors are read, merged and written some megabytes at a time.
 */
import { existsSync, join, readFileSync, writeTogether, writeWhole } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { at } from "../kernels/base/at.ts";
import { type WeightDType, brokenBlock, formats, pack, widen } from "../kernels/formats/index.ts";
import { tensorsOf } from "../model/family.ts";
import type { InputFile } from "../model/file.ts";
import { readGgufIndex } from "../model/gguf.ts";
import { openGgufFiles } from "../model/gguf_files.ts";
import { entryOf, gguf } from "../model/gguf_writer.ts";
import { type ModelFiles, type TensorEntry, expectedTensors, reorderRows } from "../model/model_files.ts";
import { safetensors } from "../model/safetensors_writer.ts";
import { type OnProgress, assertFinite } from "../model/weights.ts";
import type { WrittenTensor } from "../model/written_tensor.ts";
import type { Lora, StoredAdapter } from "./stored_adapter.ts";

/** Of a Hugging Face folder, beside its weights. */
const COPIED = [
  ...["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model"],
  ...["special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"],
  ...["chat_template.jinja", "chat_template.json"],
];

export const folderFormats = ["bf16", "f32"] as const;
export type FolderFormat = (typeof folderFormats)[number];

/** Writes a Hugging Face folder, new or empty, with what the model's own folder has beside its weights. */
export async function mergeIntoFolder(
  modelFiles: ModelFiles,
  adapter: StoredAdapter,
  place: string,
  format: FolderFormat,
  onProgress?: OnProgress,
): Promise<void> {
  const { source } = modelFiles;
  const merge = new Merge(modelFiles, adapter, onProgress);
  const copies = COPIED.filter((name) => existsSync(join(source, name))).map((name) => {
    const bytes = readFileSync(join(source, name));
    return [name, name === "config.json" ? withDtype(bytes.toString(), format) : bytes] as const;
  });
  await writeTogether(place, {
    ...Object.fromEntries(copies),
    "model.safetensors": safetensors(
      [...inFiles(modelFiles)].map(([name, tensors]) => ({
        ...{ name, shape: shapeOf(tensors), dtype: format },
        parts: () => each(tensors, (tensor) => merge.parts(tensor, format)),
      })),
    ),
  });
}

/** Formats of a GGUF file's matrices, with llama.cpp's names and numbers for them (llama_ftype). */
export const ggufFormats = { F16: ["f16", 1], Q8_0: ["q8_0", 7], Q4_0: ["q4_0", 2] } as const;
export type GgufFormat = keyof typeof ggufFormats;

/** Metadata that the merged file has its own of: it is one file, whatever the model was in. */
const REPLACED = /^(general\.file_type|general\.quantization_version|split\..*)$/;

/**
 * Writes a GGUF file with the metadata of the model's own. Matrices are in `format`, or in f16 where their rows are not whole
 * blocks of it; vectors are in f32, and what is no part of the model is copied.
 */
export async function mergeIntoGguf(
  modelFiles: ModelFiles,
  adapter: StoredAdapter,
  place: string,
  format: GgufFormat,
  onProgress?: OnProgress,
): Promise<void> {
  const { family, config } = modelFiles;
  const merge = new Merge(modelFiles, adapter, onProgress);
  const specs = new Map([...expectedTensors(family, config)].map((spec) => [spec.name, spec]));
  const ours = inFiles(modelFiles);
  const files: InputFile[] = [];
  try {
    const { tensors: stored } = await openGgufFiles(modelFiles.source, files);
    const first = at(files, 0);
    const { metadata, places } = await readGgufIndex(first);
    const [wanted, number] = ggufFormats[format];
    const entries: Uint8Array[] = [
      entryOf("general.file_type", number),
      entryOf("general.quantization_version", 2),
    ];
    for (const [key, [start, end]] of places)
      if (!REPLACED.test(key)) entries.push(await first.read(start, end - start));
    const tensors = [...stored.values()].map(({ name, shape, dtype, file, start, bytes }): WrittenTensor => {
      const own = ours.get(name);
      if (!own) return { name, shape, dtype, parts: async () => [await file.read(start, bytes)] };
      const matrix = (shape.at(-1) ?? 0) % formats[wanted].block === 0 ? wanted : "f16";
      const to = shape.length === 1 ? "f32" : matrix;
      const parts = () =>
        each(own, async function* (tensor) {
          const inOrder = merge.parts(tensor, to);
          const heads = specs.get(tensor.name)?.interleavedHeads;
          if (heads === undefined) yield* inOrder;
          else yield reorderRows(await gathered(inOrder), heads, config.head_dim, "interleaved");
        });
      return { name, shape, dtype: to, parts };
    });
    const alignment = Number(metadata.get("general.alignment") ?? 32);
    await writeWhole(place, gguf(entries, tensors, alignment));
  } finally {
    for (const file of files) await file.close();
  }
}

/** The model's tensors by the name of the file's that holds them, one after the other. */
function inFiles({ tensors }: ModelFiles): ReadonlyMap<string, readonly TensorEntry[]> {
  const found = new Map<string, TensorEntry[]>();
  for (const tensor of tensors.values())
    found.set(tensor.inFile, [...(found.get(tensor.inFile) ?? []), tensor]);
  return found;
}

function shapeOf(tensors: readonly TensorEntry[]): readonly number[] {
  const {
    shape: [, ...inputs],
  } = at(tensors, 0);
  return [tensors.reduce((sum, { shape }) => sum + at(shape, 0), 0), ...inputs];
}

async function* each<T>(
  tensors: readonly TensorEntry[],
  parts: (tensor: TensorEntry) => AsyncIterable<T>,
): AsyncGenerator<T> {
  for (const tensor of tensors) yield* parts(tensor);
}

async function gathered(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  return Buffer.concat(all);
}

/** config.json says in which dtype transformers loads the weights; the rest stays as it is written. */
function withDtype(config: string, format: FolderFormat): string {
  const dtype = format === "f32" ? "float32" : "bfloat16";
  return config.replaceAll(/("(?:torch_)?dtype"\s*:\s*)"\w*"/g, `$1"${dtype}"`);
}

/** Values that are merged at a time, between two turns of the event loop: whole blocks of every format. */
const PIECE = 2 ** 18;

class Merge {
  readonly #modelFiles: ModelFiles;
  readonly #onProgress: OnProgress | undefined;
  /** By the names of their weights. */
  readonly #loras: ReadonlyMap<string, Lora>;
  readonly #total: number;
  #done = 0;

  constructor(modelFiles: ModelFiles, adapter: StoredAdapter, onProgress: OnProgress | undefined) {
    this.#modelFiles = modelFiles;
    this.#onProgress = onProgress;
    this.#total = [...modelFiles.tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const loras = new Map<string, Lora>();
    const { layers } = tensorsOf(modelFiles.family, modelFiles.config);
    for (const [layer, specs] of layers.entries())
      for (const [name, lora] of adapter.loras(layer)) loras.set(specs[name].name, lora);
    this.#loras = loras;
  }

  /** The bytes of a tensor in the storage format `to`, with the adapter's part in it. */
  async *parts({ name, dtype, inFile }: TensorEntry, to: WeightDType): AsyncGenerator<Uint8Array> {
    const where = `${this.#modelFiles.source}: tensor ${inFile}`;
    const lora = this.#loras.get(name);
    const { block, bytes: size } = formats[dtype];
    let first = 0;
    for await (const part of this.#modelFiles.parts(name)) {
      const step = (PIECE / block) * size;
      for (let from = 0; from < part.length; from += step) {
        const stored = part.subarray(from, from + step);
        this.#onProgress?.(this.#done, this.#total);
        this.#done += stored.length;
        assertFinite(dtype, stored, where);
        if (!lora && dtype === to) {
          yield stored;
          continue;
        }
        const values = widen(dtype, stored);
        if (lora) addLora(values, first, lora);
        first += values.length;
        const packed = pack(to, values);
        if (brokenBlock(to, packed) >= 0)
          throw new BadInputError(`${where} has values that are too large for ${to}; choose another format`);
        yield packed;
      }
    }
  }
}

/** Adds s·B·A to `values`, those of w from element `first` on. */
function addLora(values: Float64Array, first: number, { A, B, rank, scale }: Lora): void {
  const inputs = A.length / rank;
  for (let done = 0; done < values.length;) {
    const [row, column] = [Math.floor((first + done) / inputs), (first + done) % inputs];
    const part = values.subarray(done, done + inputs - column);
    for (let k = 0; k < rank; k++) {
      const b = scale * at(B, row * rank + k);
      const a = A.subarray(k * inputs + column, k * inputs + column + part.length);
      for (let j = 0; j < part.length; j++) part[j] = (part[j] ?? 0) + b * (a[j] ?? 0);
    }
    done += part.length;
  }
}
