/**
 * Pipelines and bind groups, made once. A pipeline depends on its source, its override constants and the weight's
 * storage format; never on a length. A bind group depends on the access pattern of its bindings and on the ranges
 * bound; the parameters come through a dynamic offset, so the same group serves every call.
 */
import type { WeightDType } from "../../../kernels/base/dtype.ts";
import { DeviceError } from "../../errors.ts";
import type { WebGpuPass } from "../../../kernels/kernel.ts";
import type { Block } from "./buffers.ts";
import type { Faults } from "./faults.ts";
import { PARAMETER_BYTES } from "./queue.ts";
import { ShaderText } from "./sources.ts";

export interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** One letter for each storage binding: r(ead) or w(rite). Pipelines with the same letters share bind groups. */
  readonly access: string;
  readonly label: string;
}

export interface Range {
  readonly block: Block;
  readonly offset: number;
  readonly size: number;
}

/** Bind groups in a generation; the current one and the one before are kept. */
const GENERATION = 8192;

export class Pipelines {
  readonly #device: GPUDevice;
  readonly #faults: Faults;
  readonly #arena: GPUBuffer;
  readonly #compiled = new Map<string, Compiled>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  #groups = new Map<string, GPUBindGroup>();
  #olderGroups = new Map<string, GPUBindGroup>();
  pipelinesMade = 0;
  bindGroupsMade = 0;

  constructor(device: GPUDevice, faults: Faults, arena: GPUBuffer) {
    this.#device = device;
    this.#faults = faults;
    this.#arena = arena;
  }

  /** The pipeline of one pass; `weight` is the storage format of the weight it binds, if it binds one. */
  get(pass: WebGpuPass, names: readonly string[], weight: WeightDType | undefined): Compiled {
    let key = `${pass.source} ${weight ?? ""}`;
    for (const name in pass.overrides) key += `,${name}=${pass.overrides[name]}`;
    let compiled = this.#compiled.get(key);
    if (!compiled) {
      compiled = this.#compile(key, pass, names, weight);
      this.#compiled.set(key, compiled);
    }
    return compiled;
  }

  #compile(
    label: string,
    pass: WebGpuPass,
    names: readonly string[],
    weight: WeightDType | undefined,
  ): Compiled {
    const shader = new ShaderText(pass.source, weight);
    const access = accessOf(shader.text, pass.source, pass.bindings ? undefined : names, names.length);
    const layout = this.#layout(access);

    let module: GPUShaderModule | undefined;
    const make = (): GPUComputePipeline => {
      module = this.#device.createShaderModule({ label, code: shader.text });
      return this.#device.createComputePipeline({
        label,
        layout: this.#device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: "main", constants: { ...pass.overrides } },
      });
    };
    const pipeline = this.#faults.guard(["validation", "internal"], make, async (message) => {
      this.#compiled.delete(label);
      const info = await module?.getCompilationInfo();
      const errors = info?.messages.filter((m) => m.type === "error") ?? [];
      const lines = errors.map((m) => `${shader.locate(m.lineNum)}:${m.linePos}: ${m.message}`);
      return lines.length > 0 ? lines.join("\n") : `${label}: ${message}`;
    });
    this.pipelinesMade++;
    return { pipeline, layout, access, label };
  }

  #layout(access: string): GPUBindGroupLayout {
    const known = this.#layouts.get(access);
    if (known) return known;
    const limit = this.#device.limits.maxStorageBuffersPerShaderStage;
    if (access.length > limit) {
      throw new DeviceError(`${access.length} storage bindings in one kernel; this adapter allows ${limit}`);
    }
    const storage = [...access].map((letter, i) => ({
      binding: i + 1,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: letter === "r" ? ("read-only-storage" as const) : ("storage" as const) },
    }));
    const uniform = { binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { hasDynamicOffset: true } };
    const layout = this.#device.createBindGroupLayout({ label: access, entries: [uniform, ...storage] });
    this.#layouts.set(access, layout);
    return layout;
  }

  /** The group that binds `ranges` to bindings 1, 2, …, and the arena to 0. */
  bindGroup(compiled: Compiled, ranges: readonly Range[]): GPUBindGroup {
    let key = compiled.access;
    for (const { block, offset, size } of ranges) key += `,${block.id}:${offset}:${size}`;
    const found = this.#groups.get(key);
    if (found) return found;
    let group = this.#olderGroups.get(key);
    if (!group) {
      group = this.#device.createBindGroup({
        layout: compiled.layout,
        entries: [
          { binding: 0, resource: { buffer: this.#arena, size: PARAMETER_BYTES } },
          ...ranges.map(({ block, offset, size }, i) => ({
            binding: i + 1,
            resource: { buffer: block.gpu, offset, size },
          })),
        ],
      });
      this.bindGroupsMade++;
    }
    if (this.#groups.size >= GENERATION) {
      this.#olderGroups = this.#groups;
      this.#groups = new Map();
    }
    this.#groups.set(key, group);
    return group;
  }

  /** Buffers are about to be destroyed: no group may keep one. */
  forgetBindGroups(): void {
    this.#groups.clear();
    this.#olderGroups.clear();
  }
}

/** Reads the bindings out of a shader's text: "rrw" for two inputs and an output, bindings 1, 2, 3. */
function accessOf(text: string, file: string, names: readonly string[] | undefined, count: number): string {
  const code = text.replace(/\/\/.*/g, "");
  const found = [
    ...code.matchAll(/@group\(0\)\s*@binding\((\d+)\)\s*var<\s*storage\s*(?:,\s*(\w+)\s*)?>\s*(\w+)/g),
  ];
  const letters: string[] = [];
  for (const [, binding, access, name] of found) {
    const at = Number(binding) - 1;
    letters[at] = access === "read_write" ? "w" : "r";
    if (names && names[at] !== name) {
      throw new DeviceError(
        `${file}: binding ${binding} is ${name}, the declaration has ${names[at] ?? "none"} there`,
      );
    }
  }
  if (letters.length !== count || found.length !== count) {
    throw new DeviceError(`${file}: ${found.length} storage bindings, the declaration has ${count}`);
  }
  return letters.join("");
}
