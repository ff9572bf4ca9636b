/**
 * A model on disk: configuration, tokenizer and tensors, whichever way it is stored. Names, shapes and row order are
 * Hugging Face's; bytes stay in their storage format. Opening reads no weights, but checks that each one is there, with
 * the shape that the configuration asks for.
 */
import { at } from "../kernels/base/at.ts";
import type { WeightDType } from "../kernels/base/dtype.ts";
import { formats } from "../kernels/formats/index.ts";
import { cacheFolder, join } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { Turns } from "../engine/turns.ts";
import type { ModelConfig } from "./config.ts";
import { describeFolder, describeGguf } from "./families/index.ts";
import { type Family, type TensorSpec, tensorsOf } from "./family.ts";
import { type InputFile, whatIs } from "./file.ts";
import { readJson } from "./json_file.ts";
import { folderTokenizer } from "./folder_tokenizer.ts";
import { openGgufFiles } from "./gguf_files.ts";
import { tokenizerFromGguf } from "./gguf_tokenizer.ts";
import { type Located, openSafetensorsFolder } from "./safetensors.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { quote } from "./untrusted.ts";

export type StorageDType = WeightDType;

export interface TensorEntry {
  /** Hugging Face's, e.g. model.layers.0.self_attn.q_proj.weight */
  readonly name: string;
  readonly dtype: StorageDType;
  /** [out, in] for matrices; block formats run along `in` */
  readonly shape: readonly number[];
  readonly bytes: number;
  /** Its name as the file has it. */
  readonly inFile: string;
  /** The file holds the values less 1: the model computes with them plus 1, in f32. */
  readonly lessOne?: boolean;
}

export interface ModelFiles extends AsyncDisposable {
  readonly family: Family;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** exactly the tensors of the model; no lm_head.weight when tied */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** A tensor's bytes in its storage format, rows in Hugging Face's order: whole blocks, some megabytes at a time. */
  parts(name: string): AsyncIterable<Uint8Array<ArrayBuffer>>;
  /** All of them, for small tensors. */
  read(name: string): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
  /** the file or folder */
  readonly source: string;
  /** the files that hold the weights */
  readonly paths: readonly string[];
}

/** Models that have a name of their own: files in the cache folder, which `templora pull NAME` puts there. */
export const NAMED_MODELS = {
  "smollm2-135m": "smollm2-135m.gguf",
  "gemma3-270m": "gemma3-270m.gguf",
} as const;

/** Opens `path`: a Hugging Face folder, a .gguf file, or the name of a fetched model. */
export async function openModelFiles(path: string): Promise<ModelFiles> {
  const kind = await whatIs(path);
  if (kind === "folder") return openFolder(path);
  if (kind === "file") return openGguf(path);
  const named = Object.entries(NAMED_MODELS).find(([name]) => name === path);
  if (!named)
    throw new BadInputError(
      `${path}: no such file or folder, and no model of that name; give a Hugging Face folder, a .gguf file or one of: ${Object.keys(NAMED_MODELS).join(", ")}`,
    );
  const file = join(cacheFolder(), named[1]);
  if ((await whatIs(file)) !== "file")
    throw new BadInputError(`${path}: not fetched yet (${file} is missing); templora pull ${path} does it`);
  return openGguf(file);
}

/** The same files for another configuration of the model. */
export function configured(modelFiles: ModelFiles, config: ModelConfig): ModelFiles {
  return { ...modelFiles, config };
}

/** Every tensor of the model, once each. */
export function* expectedTensors(family: Family, config: ModelConfig): Generator<TensorSpec> {
  const { embed_tokens, norm, lm_head, layers } = tensorsOf(family, config);
  yield embed_tokens;
  for (const layer of layers) yield* Object.values(layer);
  yield norm;
  if (lm_head !== embed_tokens) yield lm_head;
}

/** What files may hold beside the model: a tied head once more, and RoPE's divisors, which the configuration has taken in. */
const IGNORED = /^(lm_head|output|rope_freqs|rope_factors_(short|long))\.weight$/;

/** Where a tensor is, with its shape in [out, in] order. */
interface Found extends Omit<TensorEntry, "inFile"> {
  readonly file: InputFile;
  readonly start: number;
  /** Its rows are still in GGUF's order: so many heads whose pairs lie side by side. */
  readonly interleavedHeads?: number;
}

type Stored = Found & TensorEntry;

/** Checks the stored tensors against the configuration, and puts them under Hugging Face's names. */
function checkTensors(
  stored: ReadonlyMap<string, Found>,
  { family, config }: Pick<ModelFiles, "family" | "config">,
  naming: "name" | "gguf",
  source: string,
): Map<string, Stored> {
  const tensors = new Map<string, Stored>();
  const rest = new Set(stored.keys());
  for (const expected of expectedTensors(family, config)) {
    const { name, shape, within } = expected;
    const { [naming]: inFile, shape: whole } = within ?? expected;
    const found = stored.get(inFile);
    const wanted = `[${whole.join(", ")}]`;
    if (!found)
      throw new BadInputError(`${source}: tensor ${inFile} ${wanted} is missing; the model is incomplete`);
    if (found.shape.length !== whole.length || found.shape.some((dim, i) => dim !== whole[i]))
      throw new BadInputError(
        `${source}: tensor ${inFile} is [${found.shape.join(", ")}]; the configuration asks for ${wanted}`,
      );
    rest.delete(inFile);
    const { interleavedHeads = 0, lessOne = false } = expected;
    const toDo = naming === "gguf" ? interleavedHeads > 0 && { interleavedHeads } : lessOne && { lessOne };
    const rowBytes = found.bytes / at(whole, 0);
    const place = within && {
      shape,
      start: found.start + within.from * rowBytes,
      bytes: at(shape, 0) * rowBytes,
    };
    tensors.set(name, { ...found, ...place, name, inFile, ...toDo });
  }
  for (const name of rest)
    if (!IGNORED.test(name))
      throw new BadInputError(
        `${source}: tensor ${quote(name)} is no part of a ${family.model_type} model; templora would leave it out`,
      );
  return tensors;
}

function checkVocabulary(tokenizer: Tokenizer, config: ModelConfig, source: string): void {
  if (tokenizer.vocabSize > config.vocab_size)
    throw new BadInputError(
      `${source}: the tokenizer has ${tokenizer.vocabSize} tokens, the model only ${config.vocab_size}`,
    );
}

async function openGguf(path: string): Promise<ModelFiles> {
  const files: InputFile[] = [];
  return closingOnError(files, async () => {
    const { metadata, tensors: stored } = await openGgufFiles(path, files);
    const [divisors, short, long] = await Promise.all(
      ["rope_freqs", "rope_factors_short", "rope_factors_long"].map((name) =>
        readDivisors(stored.get(`${name}.weight`)),
      ),
    );
    const rope = { ...(divisors && { divisors }), ...(short && { short }), ...(long && { long }) };
    const described = describeGguf(metadata, { has: (name) => stored.has(name), rope }, path);
    const { config } = described;
    const tensors = checkTensors(stored, described, "gguf", path);
    const ids = { bosId: config.bos_token_id, eosIds: config.eos_token_ids };
    const tokenizer = await new Turns().run(tokenizerFromGguf(metadata, ids, path));
    checkVocabulary(tokenizer, config, path);
    return { ...described, tokenizer, ...openedFiles(files, tensors, config, path) };
  });
}

/**
 * llama.cpp's permutation of q_proj and k_proj (convert_hf_to_gguf.py, LlamaModel.permute): there, the two rows that RoPE turns
 * together are neighbours; here, as in Hugging Face's files, they are half a head apart. Rows move whole, so the storage
 * format does not matter. Undone ("half split") or done ("interleaved").
 */
export function reorderRows(
  bytes: Uint8Array,
  heads: number,
  head_dim: number,
  order: "half split" | "interleaved",
): Uint8Array<ArrayBuffer> {
  const rowBytes = bytes.byteLength / (heads * head_dim);
  const rows = new Uint8Array(bytes.byteLength);
  const row = (head: number, i: number): number => (head * head_dim + i) * rowBytes;
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < head_dim; i++) {
      const neighbour = row(head, 2 * (i % (head_dim / 2)) + Math.floor(i / (head_dim / 2)));
      const [from, to] = order === "half split" ? [neighbour, row(head, i)] : [row(head, i), neighbour];
      rows.set(bytes.subarray(from, from + rowBytes), to);
    }
  }
  return rows;
}

async function readDivisors(tensor: Located | undefined): Promise<number[] | undefined> {
  if (!tensor) return undefined;
  const { name, file, dtype, start, bytes } = tensor;
  if (dtype !== "f32" || bytes > 2 ** 16)
    throw new BadInputError(`${file.path}: ${name} must be a short F32 tensor`);
  return [...new Float32Array((await file.read(start, bytes)).buffer)];
}

const MAX_CONFIG = 2 ** 24;

async function openFolder(folder: string): Promise<ModelFiles> {
  const at = (name: string): string => join(folder, name);
  const single = (await whatIs(at("model.safetensors"))) === "file";
  if (!single && (await whatIs(at("model.safetensors.index.json"))) !== "file")
    throw new BadInputError(
      `${folder}: neither model.safetensors nor model.safetensors.index.json is in this folder`,
    );
  const described = describeFolder(await readJson(at("config.json"), MAX_CONFIG), at("config.json"));
  const { config } = described;
  const tokenizer = await folderTokenizer(folder, config);
  checkVocabulary(tokenizer, config, folder);
  const files: InputFile[] = [];
  return closingOnError(files, async () => {
    const stored: ReadonlyMap<string, Located> = await openSafetensorsFolder(
      folder,
      single ? "single" : "sharded",
      files,
    );
    const tensors = checkTensors(stored, described, "name", folder);
    await assertTied(stored, config, folder);
    return { ...described, tokenizer, ...openedFiles(files, tensors, config, folder) };
  });
}

/**
 * The head of a tied model, where a file holds it once more, is the embedding again: where it differs, transformers 4 leaves it out
 * and transformers 5 computes with it.
 */
async function assertTied(
  stored: ReadonlyMap<string, Located>,
  { tie_word_embeddings }: ModelConfig,
  source: string,
): Promise<void> {
  const [head, table] = ["lm_head.weight", "model.embed_tokens.weight"].map((name) => stored.get(name));
  if (!tie_word_embeddings || !head || !table) return;
  const [a, b] = await Promise.all([head, table].map(({ file, start, bytes }) => file.read(start, bytes)));
  if (head.dtype !== table.dtype || !a || !b || Buffer.compare(a, b) !== 0)
    throw new BadInputError(
      `${source}: tie_word_embeddings is true, but lm_head.weight is not model.embed_tokens.weight; ` +
        "say false to compute with it, as transformers 5 does, or remove it, as transformers 4 left it out",
    );
}

/** Bytes that are read at once; to look through them takes some milliseconds. */
const PART = 2 ** 23;

/** What both kinds of models do with their files. */
function openedFiles(
  files: readonly InputFile[],
  tensors: ReadonlyMap<string, Stored>,
  { head_dim }: ModelConfig,
  source: string,
): Omit<ModelFiles, "family" | "config" | "tokenizer"> {
  const stored = (name: string): Stored => {
    const tensor = tensors.get(name);
    if (!tensor) throw new BadInputError(`${source}: the model has no tensor ${quote(name)}`);
    return tensor;
  };
  const close = async (): Promise<void> => void (await Promise.all(files.map((file) => file.close())));
  return {
    ...{ source, paths: files.map(({ path }) => path), tensors, close, [Symbol.asyncDispose]: close },
    parts: (name) => readParts(stored(name), head_dim),
    async read(name) {
      const tensor = stored(name);
      const bytes = new Uint8Array(tensor.bytes);
      let done = 0;
      for await (const part of readParts(tensor, head_dim)) {
        bytes.set(part, done);
        done += part.length;
      }
      return bytes;
    },
  };
}

async function* readParts(tensor: Stored, head_dim: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { file, start, bytes, dtype, interleavedHeads: heads } = tensor;
  // 16 whole blocks or heads, so that every part begins where a device can write
  const unit = 16 * (heads === undefined ? formats[dtype].bytes : bytes / heads);
  const most = Math.max(unit, PART - (PART % unit));
  for (let done = 0; done < bytes; done += most) {
    const part = await file.read(start + done, Math.min(most, bytes - done));
    yield heads === undefined
      ? part
      : reorderRows(part, (part.length * heads) / bytes, head_dim, "half split");
  }
}

/** Runs `open`; if it fails, closes `files` (which may grow meanwhile) before the error goes on. */
async function closingOnError<T>(files: readonly InputFile[], open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}
