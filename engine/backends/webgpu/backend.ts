/** The `webgpu` device: buffers.ts, pipelines.ts and queue.ts tied together behind engine/device.ts. */
import { entry } from "../../../kernels/base/at.ts";
import { type DType, type WeightDType, byteLength, isWeightDType } from "../../../kernels/base/dtype.ts";
import type {
  BufferView,
  Device,
  DeviceBuffer,
  DeviceInfo,
  DeviceLimits,
  DeviceStats,
  KernelCall,
} from "../../device.ts";
import { DTypeError, DeviceError, DeviceLostError } from "../../errors.ts";
import type { AnyKernel, PlanContext, WebGpuPass } from "../../../kernels/kernel.ts";
import { type KernelTime, checkBinding, checkRun, checkWindow, checkWrite } from "../common.ts";
import { BufferPool, WebGpuBuffer } from "./buffers.ts";
import { type AdapterFacts, type OpenOptions, type OpenedDevice, openWebGpu } from "./device.ts";
import type { Faults } from "./faults.ts";
import { Pipelines, type Range } from "./pipelines.ts";
import { CommandQueue, PARAMETER_BYTES } from "./queue.ts";
import type { Choices } from "./tuning.ts";

export interface WebGpuOptions extends OpenOptions {
  /** Time each dispatch by timestamp queries, where the adapter has them. */
  readonly profile?: boolean;
  /** Variants of kernels; {} = the defaults. Left out: what `templora bench tune` stored for this adapter. */
  readonly tuned?: Choices;
  /** Bytes of the largest binding; left out, as much as the adapter allows. */
  readonly maxBinding?: number;
}

/** Opens this machine's adapter. Throws DeviceError when there is none. */
export async function openWebGpuDevice(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const opened = await openWebGpu(options);
  try {
    const tuned = options.tuned ?? (await storedTuning(opened));
    const device = new WebGpuDevice(opened, { ...options, tuned });
    await opened.faults.settle();
    return device;
  } catch (error) {
    opened.destroy();
    throw error;
  }
}

/** The tuning file's choices; looked up under Node only. */
async function storedTuning(opened: OpenedDevice): Promise<Choices> {
  if (typeof process === "undefined") return {};
  const { readTuning, tuningFile } = await import("./tuning.ts");
  return readTuning(tuningFile(), opened.adapter, kindOf(opened));
}

/** What plans, and the choices among them, depend on. */
function kindOf({ adapter, device }: OpenedDevice): Pick<PlanContext, "software" | "subgroupSize"> {
  const subgroupSize = subgroupSizeOf(device);
  return { software: adapter.software, ...(subgroupSize && { subgroupSize }) };
}

/** Threads of a subgroup, where the adapter has subgroups of a single size; else 0. */
function subgroupSizeOf({ features, adapterInfo }: GPUDevice): number {
  const { subgroupMinSize = 0, subgroupMaxSize } = adapterInfo;
  return features.has("subgroups") && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0;
}

export class WebGpuDevice implements Device {
  readonly info: DeviceInfo;
  readonly viewAlignment: number;
  readonly limits: DeviceLimits;
  readonly #opened: OpenedDevice;
  readonly #faults: Faults;
  readonly #pool: BufferPool;
  readonly #queue: CommandQueue;
  readonly #pipelines: Pipelines;
  readonly #offsetAlignment: number;
  readonly #parameters = new ArrayBuffer(PARAMETER_BYTES);
  readonly #words = new Uint32Array(this.#parameters);
  readonly #floats = new Float32Array(this.#parameters);
  /** What a plan may depend on, by the weight's format. */
  readonly #contexts = new Map<WeightDType, PlanContext>();
  #tuned: Choices;
  #closed = false;

  constructor(
    opened: OpenedDevice,
    { profile = false, tuned, maxBinding = Infinity }: WebGpuOptions & { readonly tuned: Choices },
  ) {
    const { device, adapter, faults } = opened;
    this.#tuned = tuned;
    this.#opened = opened;
    this.#faults = faults;
    this.info = {
      kind: "webgpu",
      description: `webgpu: ${adapter.description || adapter.device || adapter.vendor}`,
      software: adapter.software,
      facts: {
        vendor: adapter.vendor,
        architecture: adapter.architecture,
        device: adapter.device,
        description: adapter.description,
        features: adapter.features,
        subgroupSize: subgroupSizeOf(device),
        tuned: Object.entries(tuned).map(([key, name]) => `${key}=${name}`),
      },
    };
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    this.limits = { buffer: maxBufferSize, binding: Math.min(maxBinding, maxStorageBufferBindingSize) };
    this.#offsetAlignment = device.limits.minStorageBufferOffsetAlignment;
    this.viewAlignment = this.#offsetAlignment / 4;
    this.#queue = new CommandQueue(device, faults, {
      software: adapter.software,
      profile: profile && device.features.has("timestamp-query"),
    });
    this.#pipelines = new Pipelines(device, faults, this.#queue.arena);
    this.#pool = new BufferPool(device, faults, () => {
      this.#queue.submit();
      this.#pipelines.forgetBindGroups();
    });
  }

  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    this.#faults.assertAlive();
    return this.#pool.allocate(dtype, length, label);
  }

  free(buffer: DeviceBuffer): void {
    this.#pool.free(own(buffer));
  }

  write(view: BufferView, data: Uint8Array | Float32Array | Int32Array | Uint32Array): void {
    this.#faults.assertAlive();
    const { block, offset } = this.#range(view);
    checkWrite(view, data.byteLength);
    this.#queue.write(block, offset, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  async read(view: BufferView): Promise<ArrayBuffer> {
    this.#faults.assertAlive();
    const { block, offset } = this.#range(view);
    return this.#queue.read(block, offset, byteLength(view.buffer.dtype, view.length));
  }

  run(call: KernelCall): void {
    this.#faults.assertAlive();
    checkRun(call);
    const { kernel, dims, params } = call;
    const weight = this.#weightOf(call);
    const context = this.#context(weight ?? "f32");
    const passes = kernel.spec.webgpu(dims, params, context);
    const views = new Map(kernel.slots.map(({ name }) => [name, entry(call.slots, name)]));
    const scratch: WebGpuBuffer[] = [];
    try {
      for (const [name, length] of Object.entries(kernel.spec.webgpuScratch?.(dims, params, context) ?? {})) {
        const buffer = this.#pool.allocate("f32", length, `${kernel.name}.${name}`);
        scratch.push(buffer);
        views.set(name, { buffer, offset: 0, length });
      }
      this.#queue.reserve(passes.length, kernel.spec.cost(dims, params, weight ?? "f32"));
      const words = this.#pack(call);
      for (const pass of passes) this.#dispatch(kernel, pass, views, weight, words);
    } finally {
      // The passes are ordered before whatever uses the memory next.
      for (const buffer of scratch) this.#pool.free(buffer);
    }
  }

  #dispatch(
    kernel: AnyKernel,
    pass: WebGpuPass,
    views: ReadonlyMap<string, BufferView>,
    weight: WeightDType | undefined,
    words: number,
  ): void {
    const [x, y, z] = pass.groups;
    if (x === 0 || y === 0 || z === 0) return;
    const names = pass.bindings ?? kernel.slots.map((slot) => slot.name);
    const bound = names.map((name) => {
      const view = views.get(name);
      if (!view)
        throw new DeviceError(`${kernel.name}: ${pass.source} binds ${name}, which is no slot or scratch`);
      return this.#bindable(kernel.name, name, view, pass.parts?.[name]);
    });
    const bindsWeight = names.some((name) => name === kernel.weightSlot);
    const compiled = this.#pipelines.get(pass, names, bindsWeight ? weight : undefined);
    let used = words;
    for (const name in pass.extra) this.#words[used++] = entry(pass.extra, name);
    this.#queue.dispatch({
      label: `${kernel.name}: ${pass.source}`,
      pipeline: compiled.pipeline,
      bindGroup: this.#pipelines.bindGroup(compiled, bound),
      groups: pass.groups,
      blocks: bound.map((range) => range.block),
      parameters: this.#words.subarray(0, used),
    });
  }

  /** Writes dimensions and parameters to #words in the struct's order; returns how many words they take. */
  #pack({ kernel, dims, params }: KernelCall): number {
    let at = 0;
    for (const name of kernel.dimNames) this.#words[at++] = entry(dims, name);
    for (const name of kernel.paramNames) {
      if (kernel.spec.params[name] === "f32") this.#floats[at++] = entry(params, name);
      else this.#words[at++] = entry(params, name); // ToUint32 keeps the bits of a negative i32
    }
    return at;
  }

  #weightOf({ kernel, slots }: KernelCall): WeightDType | undefined {
    if (kernel.weightSlot === undefined) return undefined;
    const dtype = entry(slots, kernel.weightSlot).buffer.dtype;
    if (!isWeightDType(dtype))
      throw new DTypeError(`${kernel.name}.${kernel.weightSlot}`, "a weight format", dtype);
    return dtype;
  }

  #context(weight: WeightDType): PlanContext {
    const known = this.#contexts.get(weight);
    if (known) return known;
    const context = { weight, ...kindOf(this.#opened), maxBinding: this.limits.binding, tuned: this.#tuned };
    this.#contexts.set(weight, context);
    return context;
  }

  /** A view as a binding takes it: aligned, not empty, whole words, within the adapter's limit. */
  #bindable(
    kernel: string,
    slot: string,
    view: BufferView,
    [from, length]: readonly [from: number, length: number] = [0, view.length],
  ): Range {
    const range = this.#range({ buffer: view.buffer, offset: view.offset + from, length });
    const where = `${kernel}.${slot} (${view.buffer.label})`;
    if (range.offset % this.#offsetAlignment !== 0) {
      throw new DeviceError(
        `${where}: byte offset ${range.offset} is not a multiple of ${this.#offsetAlignment}`,
      );
    }
    checkBinding(where, range.size, this.limits.binding);
    return range;
  }

  #range(view: BufferView): Range {
    const buffer = own(view.buffer);
    const { block } = buffer;
    checkWindow(view);
    const offset = byteLength(buffer.dtype, view.offset);
    const size = Math.max(4, Math.ceil(byteLength(buffer.dtype, view.length) / 4) * 4);
    if (offset % 4 !== 0)
      throw new DeviceError(`${buffer.label}: byte offset ${offset} is not a multiple of 4`);
    return { block, offset, size };
  }

  /** What the adapter says of itself: measurements are stored under it. */
  get adapter(): AdapterFacts {
    return this.#opened.adapter;
  }

  /** From the next kernel on these variants are used: for measuring them. */
  retune(tuned: Choices): void {
    this.#tuned = tuned;
    this.#contexts.clear();
  }

  flush(): Promise<void> {
    this.#faults.assertAlive();
    return this.#queue.finish();
  }

  /** Milliseconds and calls of each pipeline since the last call; needs `profile: true`. */
  profile(): Promise<ReadonlyMap<string, KernelTime>> {
    return this.#queue.profile();
  }

  stats(): DeviceStats {
    return {
      liveBuffers: this.#pool.liveBuffers,
      liveBytes: this.#pool.liveBytes,
      peakBytes: this.#pool.peakBytes,
      allocations: this.#pool.allocations + this.#queue.stagingBuffers,
      pipelines: this.#pipelines.pipelinesMade,
      bindGroups: this.#pipelines.bindGroupsMade,
      dispatches: this.#queue.dispatches,
      submits: this.#queue.submits,
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#queue.finish();
    } catch (error) {
      if (!(error instanceof DeviceLostError)) throw error; // of a lost device nothing is left to close
    } finally {
      this.#opened.destroy();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function own(buffer: DeviceBuffer): WebGpuBuffer {
  if (!(buffer instanceof WebGpuBuffer)) throw new TypeError(`${buffer.label} is not a webgpu buffer`);
  return buffer;
}
