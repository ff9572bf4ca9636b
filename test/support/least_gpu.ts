/**
 * The machine's adapter as the least that WebGPU allows: its own limits and features are hidden, so that a device has the standard's
 * (8 storage buffers a stage, 128 MiB a binding, 16 KiB of workgroup memory, 256 lanes) and no f16 or subgroups, and Dawn holds it to them.
 */
import { type WebGpuDevice, openWebGpuDevice } from "../../engine/backends/webgpu/backend.ts";
import { type OpenedDevice, openWebGpu } from "../../engine/backends/webgpu/device.ts";

interface Options {
  /** It passes for a GPU: kernels take the plans for GPUs, whatever computes. */
  readonly hardware?: boolean;
}

export const openLeast = (options: Options = {}): Promise<OpenedDevice> =>
  onLeast(options, () => openWebGpu());

export const openLeastGpu = (options: Options = {}): Promise<WebGpuDevice> =>
  onLeast(options, () => openWebGpuDevice({ tuned: {} }));

async function onLeast<T>({ hardware = false }: Options, open: () => Promise<T>): Promise<T> {
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const gpu = create([]);
  const unasked = await (await gpu.requestAdapter())?.requestDevice();
  const adapter = await gpu.requestAdapter();
  if (!unasked || !adapter) throw new Error("no adapter");
  const limits: Record<string, number> = {};
  for (const name in unasked.limits) limits[name] = Number(unasked.limits[name as keyof GPUSupportedLimits]);
  unasked.destroy();
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const info = { vendor, architecture, device, description, isFallbackAdapter };
  const least = {
    info: hardware ? { ...info, architecture: "", isFallbackAdapter: false } : info,
    features: new Set(),
    limits,
    requestDevice: (wanted: GPUDeviceDescriptor) => adapter.requestDevice(wanted),
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  const value = { gpu: { requestAdapter: () => Promise.resolve(least), own: gpu } };
  Object.defineProperty(globalThis, "navigator", { value, configurable: true });
  try {
    return await open();
  } finally {
    if (before) Object.defineProperty(globalThis, "navigator", before);
    else Reflect.deleteProperty(globalThis, "navigator");
  }
}
