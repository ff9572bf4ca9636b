/**
 * Adapters as files, in peft's format: a folder with adapter_config.json and adapter_model.safetensors. Files are not trusted: every
 * tensor that the configuration asks for must be there, of its shape and finite, and none else.
 */
import { existsSync, join, readdirSync, writeTogether } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { Turns } from "../engine/turns.ts";
import { widen } from "../kernels/formats/index.ts";
import { InputFile, whatIs } from "../model/file.ts";
import { readJson } from "../model/json_file.ts";
import type { LinearName } from "../model/layers.ts";
import { type StoredTensor, readSafetensorsIndex } from "../model/safetensors.ts";
import { safetensors } from "../model/safetensors_writer.ts";
import { quote } from "../model/untrusted.ts";
import { assertFinite } from "../model/weights.ts";
import { type LinearModule, type Modules, joinedB, joinedShape, rowsOf, split } from "./modules.ts";
import { type ModuleLayout, configFor, layoutOf, parsePeftConfig } from "./peft_config.ts";
import { type LoraShape, StoredAdapter, parameterOf } from "./stored_adapter.ts";

export const CONFIG = "adapter_config.json";
export const TENSORS = "adapter_model.safetensors";
const MAX_CONFIG = 2 ** 24;

/** Of a module: [rank, in] and [out, rank]. */
const matrices = ["A", "B"] as const;
type Matrix = (typeof matrices)[number];

const nameOf = ({ name }: LinearModule, matrix: Matrix): string =>
  `base_model.model.${name}.lora_${matrix}.weight`;

const shapeOf = (module: LinearModule, { rank }: LoraShape, matrix: Matrix): readonly [number, number] =>
  matrix === "A" ? [rank, module.inputs] : [rowsOf(module), rank];

/** Reads the folder `path`, of an adapter for a model of these modules. */
export async function readAdapter(path: string, modules: Modules): Promise<StoredAdapter> {
  const [configPath, tensorsPath] = [join(path, CONFIG), join(path, TENSORS)];
  const config = parsePeftConfig(await readJson(configPath, MAX_CONFIG), configPath);
  const shapes = await new Turns().run(layoutOf(config, modules, configPath));
  if (!existsSync(tensorsPath) && existsSync(join(path, "adapter_model.bin")))
    throw new BadInputError(
      `${path}: adapter_model.bin is a pickle, which templora does not read; save the adapter as safetensors`,
    );
  const file = await InputFile.open(tensorsPath);
  try {
    const stored = new Map((await readSafetensorsIndex(file)).map((tensor) => [tensor.name, tensor]));
    const known = new Set<string>();
    for (const [module, shape] of shapes.flatMap((block) => [...block]))
      for (const matrix of matrices) {
        const name = nameOf(module, matrix);
        expectShape(stored.get(name), name, shapeOf(module, shape, matrix), tensorsPath);
        known.add(name);
      }
    for (const name of stored.keys())
      if (!known.has(name))
        throw new BadInputError(
          `${tensorsPath}: tensor ${quote(name)} is no part of the adapter that ${CONFIG} describes; templora would leave it out`,
        );
    const read = async (name: string): Promise<Float32Array<ArrayBuffer>> => {
      const { dtype, start, bytes } = stored.get(name) as StoredTensor;
      const data = await file.read(start, bytes);
      assertFinite(dtype, data, `${tensorsPath}: tensor ${name}`);
      return Float32Array.from(widen(dtype, data));
    };
    const layout = shapes.map(() => new Map<LinearName, LoraShape>());
    const values = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [layer, loras] of layout.entries())
      for (const [module, shape] of shapes[layer] ?? []) {
        const [A, B] = [await read(nameOf(module, "A")), await read(nameOf(module, "B"))];
        for (const [name, { rank, scale, ...lora }] of split(module, { ...shape, A, B })) {
          loras.set(name, { rank, scale });
          for (const matrix of matrices) values.set(parameterOf(layer, name, matrix), lora[matrix]);
        }
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
  adapter: StoredAdapter,
  modules: Modules,
  { dropout, baseModel }: AdapterFacts,
): Promise<void> {
  const shapes = modules.map((block, layer): ModuleLayout[number] => {
    const loras = adapter.loras(layer);
    return new Map(
      block.flatMap((module) => {
        const shape = joinedShape(module, loras);
        return shape ? [[module, shape]] : [];
      }),
    );
  });
  const json = {
    ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: baseModel ?? null },
    ...{ ...configFor(shapes, adapter.config), lora_dropout: dropout, bias: "none", inference_mode: true },
  };
  const tensors = shapes.flatMap((block, layer) => {
    const loras = adapter.loras(layer);
    return [...block].flatMap(([module, shape]) => {
      const values = {
        A: () => module.layers.flatMap(({ name }) => loras.get(name)?.A ?? []),
        B: () => [joinedB(module, loras, shape)],
      };
      return matrices.map((matrix) => ({
        ...{ name: nameOf(module, matrix), shape: shapeOf(module, shape, matrix), dtype: "f32" as const },
        parts: () => values[matrix]().map(bytesOf),
      }));
    });
  });
  await writeTogether(path, {
    [TENSORS]: safetensors(tensors),
    [CONFIG]: `${JSON.stringify(json, null, 2)}\n`,
  });
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
