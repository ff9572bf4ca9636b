/**
 * Adapters as files, in peft's format: a folder with adapter_config.json and adapter_model.safetensors. Files are not trusted: every
 * tensor that the configuration asks for must be there, of its shape and finite, and none else.
 */
import { existsSync, join, readdirSync, writeTogether } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { Turns } from "../engine/turns.ts";
import { at } from "../kernels/base/at.ts";
import { widen } from "../kernels/formats/index.ts";
import { InputFile, readJson, whatIs } from "../model/file.ts";
import type { LinearName } from "../model/layers.ts";
import { type StoredTensor, readSafetensorsIndex } from "../model/safetensors.ts";
import { safetensors } from "../model/safetensors_writer.ts";
import { quote } from "../model/untrusted.ts";
import { assertFinite } from "../model/weights.ts";
import { layoutOf, moduleOf, parsePeftConfig } from "./peft_config.ts";
import { type LoraLayout, StoredAdapter, parameterOf } from "./stored_adapter.ts";

export const CONFIG = "adapter_config.json";
export const TENSORS = "adapter_model.safetensors";
const MAX_CONFIG = 2 ** 24;

/** The linear layers of a model's blocks: their weights, or what their files say of them. */
export type Blocks = readonly Readonly<Record<LinearName, { readonly shape: readonly number[] }>>[];

/** One of an adapter's tensors, under its name in the file and among the parameters. */
interface Wanted {
  readonly name: string;
  readonly parameter: string;
  readonly shape: readonly [number, number];
}

function* tensorsOf(layout: LoraLayout, blocks: Blocks): Generator<Wanted> {
  for (const [layer, block] of layout.entries())
    for (const [name, { rank }] of block) {
      const { shape } = at(blocks, layer)[name];
      for (const [matrix, size] of [
        ["A", [rank, at(shape, 1)]],
        ["B", [at(shape, 0), rank]],
      ] as const)
        yield {
          name: `base_model.model.${moduleOf(layer, name)}.lora_${matrix}.weight`,
          parameter: parameterOf(layer, name, matrix),
          shape: size,
        };
    }
}

/** Reads the folder `path`, of an adapter for a model of these blocks. */
export async function readAdapter(path: string, blocks: Blocks): Promise<StoredAdapter> {
  const [configPath, tensorsPath] = [join(path, CONFIG), join(path, TENSORS)];
  const config = parsePeftConfig(await readJson(configPath, MAX_CONFIG), configPath);
  const layout = await new Turns().run(layoutOf(config, blocks.length, configPath));
  if (!existsSync(tensorsPath) && existsSync(join(path, "adapter_model.bin")))
    throw new BadInputError(
      `${path}: adapter_model.bin is a pickle, which templora does not read; save the adapter as safetensors`,
    );
  const file = await InputFile.open(tensorsPath);
  try {
    const stored = new Map((await readSafetensorsIndex(file)).map((tensor) => [tensor.name, tensor]));
    const values = new Map<string, Float32Array<ArrayBuffer>>();
    const wanted = [...tensorsOf(layout, blocks)];
    for (const { name, shape } of wanted) expectShape(stored.get(name), name, shape, tensorsPath);
    const known = new Set(wanted.map(({ name }) => name));
    for (const name of stored.keys())
      if (!known.has(name))
        throw new BadInputError(
          `${tensorsPath}: tensor ${quote(name)} is no part of the adapter that ${CONFIG} describes; templora would leave it out`,
        );
    for (const { name, parameter } of wanted) {
      const { dtype, start, bytes } = stored.get(name) as StoredTensor;
      const data = await file.read(start, bytes);
      assertFinite(dtype, data, `${tensorsPath}: tensor ${name}`);
      values.set(parameter, Float32Array.from(widen(dtype, data)));
    }
    return await StoredAdapter.of(config, layout, values, path);
  } finally {
    await file.close();
  }
}

function expectShape(
  found: StoredTensor | undefined,
  name: string,
  shape: readonly number[],
  path: string,
): void {
  const wanted = `[${shape.join(", ")}]`;
  if (!found)
    throw new BadInputError(`${path}: tensor ${name} ${wanted} is missing, which ${CONFIG} asks for`);
  if (String(found.shape) !== String(shape))
    throw new BadInputError(
      `${path}: tensor ${name} is [${found.shape.join(", ")}]; ${CONFIG} and the model ask for ${wanted}`,
    );
}

/** What is left of an adapter where a crash ended the writing. */
const PART = /^adapter_(config\.json|model\.safetensors)(\.\d+)?\.part$/;

/**
 * Throws unless `path` is new, a folder with nothing but such parts in it, or an adapter's: no other folder gets files that might take the
 * place of some.
 */
export async function assertAdapterPlace(path: string): Promise<void> {
  const kind = await whatIs(path);
  if (kind === "nothing" || (kind === "folder" && readdirSync(path).every((name) => PART.test(name)))) return;
  const config = join(path, CONFIG);
  const json = kind === "folder" && existsSync(config) ? await readJson(config, MAX_CONFIG) : null;
  if (!Object.hasOwn(Object(json) as object, "peft_type"))
    throw new BadInputError(`${path}: not an adapter's folder, so it is left as it is; name another`);
}

/** What peft keeps beside what decides the computation. */
export interface AdapterFacts {
  readonly dropout: number;
  /** The model's name or folder, if another program can find it there. */
  readonly baseModel?: string | undefined;
}

/** Writes the folder, new or in the place of an older adapter; what else is in it stays. Both files change once both are complete. */
export async function writeAdapter(
  path: string,
  { config, layout, values }: StoredAdapter,
  blocks: Blocks,
  { dropout, baseModel }: AdapterFacts,
): Promise<void> {
  const json = {
    ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: baseModel ?? null },
    ...{ ...config, lora_dropout: dropout, bias: "none", inference_mode: true },
  };
  const tensors = [...tensorsOf(layout, blocks)].map(({ name, parameter, shape }) => ({
    ...{ name, shape, dtype: "f32" as const },
    parts: () => [bytesOf(values.get(parameter) ?? new Float32Array())],
  }));
  await writeTogether(path, {
    [TENSORS]: safetensors(tensors),
    [CONFIG]: `${JSON.stringify(json, null, 2)}\n`,
  });
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
