/**
 * Reads safetensors (https://github.com/huggingface/safetensors#format): a u64 header length, a JSON header, tensor bytes;
 * one file, or several with model.safetensors.index.json. Nothing in a header is believed before it is checked, as strictly
 * as the original reader does: offsets must tile the data without holes or overlaps.
 */
import { join } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { formats, type WeightDType, weightDTypes } from "../kernels/formats/index.ts";
import { InputFile } from "./file.ts";
import { readJson } from "./json_file.ts";
import { asArray, asInteger, asObject, asString, quote, show } from "./untrusted.ts";

/** Where a tensor's bytes are. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: WeightDType;
  readonly shape: readonly number[];
  /** absolute offset in the file */
  readonly start: number;
  readonly bytes: number;
}

/** The dtypes that can be weights, by safetensors' names. */
const WEIGHTS: ReadonlyMap<string, WeightDType> = new Map(
  weightDTypes.flatMap((dtype) => {
    const { safetensors } = formats[dtype];
    return safetensors === undefined ? [] : [[safetensors, dtype]];
  }),
);

/** RoPE's frequencies, which old files hold in any dtype: they follow from the configuration, and transformers drops them, too. */
const DROPPED = /(^|\.)rotary_emb\.inv_freq$/;

const MAX_HEADER = 100_000_000; // the original reader's limit
const MAX_INDEX = 64 * 2 ** 20;

/** Reads and checks the header of an open file. */
export async function readSafetensorsIndex(file: InputFile): Promise<StoredTensor[]> {
  if (file.size < 8)
    throw new BadInputError(`${file.path}: ${file.size} bytes are too few for a safetensors file`);
  const length = new DataView((await file.read(0, 8)).buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER) || Number(length) > file.size - 8)
    throw new BadInputError(
      `${file.path}: claims a header of ${length} bytes in a file of ${file.size}; it is damaged or not safetensors`,
    );
  return parseSafetensorsHeader(await file.read(8, Number(length)), file.size, file.path);
}

/** The header's tensors in the order of their bytes. `fileSize` bounds every offset. */
export function parseSafetensorsHeader(header: Uint8Array, fileSize: number, path: string): StoredTensor[] {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(header);
    json = JSON.parse(text);
  } catch {
    throw new BadInputError(`${path}: the safetensors header is not valid JSON; the file is damaged`);
  }
  const names = new Set<string>();
  for (const name of topLevelKeys(text)) {
    if (names.has(name)) throw new BadInputError(`${path}: tensor ${quote(name)} is listed twice`);
    names.add(name);
  }
  const dataStart = 8 + header.byteLength;
  const tensors: StoredTensor[] = [];
  for (const [name, value] of Object.entries(asObject(json, `${path}: header`)))
    if (name !== "__metadata__") tensors.push(parseTensor(name, value, dataStart, fileSize, path));
  tensors.sort((a, b) => a.start - b.start || a.bytes - b.bytes);
  let end = dataStart;
  for (const tensor of tensors) {
    if (tensor.start !== end)
      throw new BadInputError(
        `${path}: tensor ${quote(tensor.name)} ${tensor.start < end ? "overlaps the one before it" : "leaves a hole before it"}`,
      );
    end += tensor.bytes;
  }
  if (end !== fileSize)
    throw new BadInputError(
      `${path}: its tensors end at byte ${end}, the file at ${fileSize}; it is damaged or cut off`,
    );
  return tensors.filter(({ name }) => !DROPPED.test(name));
}

function parseTensor(
  name: string,
  value: unknown,
  dataStart: number,
  fileSize: number,
  path: string,
): StoredTensor {
  const where = `${path}: tensor ${quote(name)}`;
  const fields = asObject(value, where);
  const dtype = asString(fields["dtype"], `${where}: dtype`);
  const dropped = DROPPED.test(name);
  const weight = dropped ? "f32" : WEIGHTS.get(dtype);
  if (!weight)
    throw new BadInputError(
      `${where}: dtype ${quote(dtype)}; templora reads ${[...WEIGHTS.keys()].join(", ")}`,
    );
  const dims = asArray(fields["shape"], `${where}: shape`);
  if (dims.length > 8) throw new BadInputError(`${where}: ${dims.length} dimensions`);
  const shape = dims.map((dim, i) => asInteger(dim, `${where}: shape[${i}]`, 0, Number.MAX_SAFE_INTEGER));
  // In exact integers: a product of dimensions can pass 2^53 long before it disagrees with the offsets.
  const bytes = shape.reduce((n, dim) => n * BigInt(dim), BigInt(formats[weight].bytes));
  const offsets = asArray(fields["data_offsets"], `${where}: data_offsets`);
  if (offsets.length !== 2)
    throw new BadInputError(`${where}: data_offsets ${show(offsets)}; expected [begin, end]`);
  const begin = asInteger(offsets[0], `${where}: data_offsets[0]`, 0, fileSize - dataStart);
  const end = asInteger(offsets[1], `${where}: data_offsets[1]`, begin, fileSize - dataStart);
  if (!dropped && bytes !== BigInt(end - begin))
    throw new BadInputError(
      `${where}: ${dtype} [${shape.join(", ")}] takes ${bytes} bytes, its offsets span ${end - begin}`,
    );
  return { name, dtype: weight, shape, start: dataStart + begin, bytes: end - begin };
}

/** The keys of a JSON object's outermost level as written, duplicates included. `text` is valid JSON. */
function* topLevelKeys(text: string): Generator<string> {
  let depth = 0;
  // strings whole (so that braces inside them do not count), then the colon that makes a string a key
  for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[[\]{}]/g)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (depth === 1 && string !== undefined && colon !== undefined) yield JSON.parse(string) as string;
  }
}

/** An open file and one of its tensors. */
export interface Located extends StoredTensor {
  readonly file: InputFile;
}

/**
 * Opens a folder's weights: model.safetensors, or every shard that model.safetensors.index.json names. Files opened are
 * pushed to `files` as they are opened, so that the caller closes them whatever happens.
 */
export async function openSafetensorsFolder(
  folder: string,
  kind: "single" | "sharded",
  files: InputFile[],
): Promise<Map<string, Located>> {
  const tensors = new Map<string, Located>();
  const add = async (fileName: string): Promise<void> => {
    const file = await InputFile.open(join(folder, fileName));
    files.push(file);
    for (const tensor of await readSafetensorsIndex(file)) {
      const other = tensors.get(tensor.name);
      if (other)
        throw new BadInputError(`${file.path}: tensor ${quote(tensor.name)} is also in ${other.file.path}`);
      tensors.set(tensor.name, { ...tensor, file });
    }
  };
  if (kind === "single") {
    await add("model.safetensors");
    return tensors;
  }
  const path = join(folder, "model.safetensors.index.json");
  const weightMap = Object.entries(
    asObject(asObject(await readJson(path, MAX_INDEX), path)["weight_map"], `${path}: weight_map`),
  );
  const shards = weightMap.map(([name, shard]): [string, string] => [
    name,
    shardName(shard, `${path}: ${quote(name)}`),
  ]);
  for (const shard of new Set(shards.map(([, shard]) => shard))) await add(shard);
  for (const [name, shard] of shards)
    if (tensors.get(name)?.file.path !== join(folder, shard))
      throw new BadInputError(`${path}: tensor ${quote(name)} is not in ${shard}, where the index has it`);
  return tensors;
}

/** A plain file name, no longer than a file system takes: no folders, no dot files, no way out of the model's folder. */
function shardName(value: unknown, where: string): string {
  const name = asString(value, where);
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,240}\.safetensors$/.test(name))
    throw new BadInputError(`${where}: ${quote(name)} is not the plain name of a .safetensors file`);
  return name;
}
