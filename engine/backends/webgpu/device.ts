/**
 * Opens a WebGPU device: through the npm package `webgpu` (Dawn) in Node, through navigator.gpu in a browser. Requests
 * the adapter's own limits and features, and finds out whether it computes on the CPU.
 */
import { DeviceError } from "../../errors.ts";
import { Faults } from "./faults.ts";

/** Optional features that kernels or benchmarks can use; requested where the adapter has them. */
const FEATURES: readonly GPUFeatureName[] = ["shader-f16", "subgroups", "timestamp-query"];

export interface AdapterFacts {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** It computes on the CPU (llvmpipe, SwiftShader, WARP). */
  readonly software: boolean;
  /** Those of FEATURES that the device has. */
  readonly features: readonly string[];
  /** The limits of the device, which are the adapter's own. */
  readonly limits: Readonly<Record<string, number>>;
}

export interface OpenedDevice {
  readonly device: GPUDevice;
  readonly adapter: AdapterFacts;
  /** Turns a lost device, and errors that no error scope caught, into DeviceLostError and DeviceError. */
  readonly faults: Faults;
  /** Frees everything on the device. Unfinished reads reject. */
  readonly destroy: () => void;
}

export interface OpenOptions {
  /** "hardware" refuses adapters that compute on the CPU (default "any"). */
  readonly adapter?: "any" | "hardware";
}

/**
 * What must outlive JavaScript's garbage collector while its device is in use: Dawn crashes when the GPU object goes
 * first, and reads reject when the device does.
 */
const alive = new Set<readonly [GPU, GPUAdapter, GPUDevice]>();

/** Throws DeviceError when there is no adapter of the wanted kind. Each call opens a device of its own. */
export async function openWebGpu({ adapter: wanted }: OpenOptions = {}): Promise<OpenedDevice> {
  const gpu = await findGpu();
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new DeviceError('webgpu: no adapter found; install a Vulkan driver (on Linux) or use device "cpu"');
  }
  const { vendor, architecture, device: model, description } = adapter.info;
  if (model === "null-backend")
    throw new DeviceError('webgpu: Dawn\'s null backend computes nothing; use device "cpu"');
  const software = adapter.info.isFallbackAdapter || /^(software|swiftshader|warp)$/.test(architecture);
  if (software && wanted === "hardware") {
    throw new DeviceError(
      `webgpu: the only adapter computes on the CPU (${description || model}); use device "cpu"`,
    );
  }

  const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature));
  const limits = readLimits(adapter.limits);
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ label: "templora", requiredFeatures, requiredLimits: limits });
  } catch (cause) {
    throw new DeviceError(`webgpu: ${description || model} refused a device: ${text(cause)}`, { cause });
  }
  const references = [gpu, adapter, device] as const;
  alive.add(references);

  // Dawn would print it, on stdout. Faults listens too; without this listener Dawn crashes now and then on SwiftShader.
  device.addEventListener("uncapturederror", (event) => event.preventDefault());
  void device.lost.then(() => alive.delete(references));
  const faults = new Faults(device);

  return {
    device,
    adapter: {
      ...{ vendor, architecture, device: model, description, software },
      features: requiredFeatures,
      limits,
    },
    faults,
    destroy: () => {
      faults.close();
      device.destroy();
    },
  };
}

async function findGpu(): Promise<GPU> {
  const { navigator } = globalThis as { navigator?: { gpu?: GPU } };
  if (navigator?.gpu) return navigator.gpu;
  if (typeof process === "undefined") throw new DeviceError("webgpu: this browser has no WebGPU");
  const { assertVulkanDriver } = await import("./driver.ts");
  assertVulkanDriver();
  try {
    const { create, globals } = await import("webgpu");
    Object.assign(globalThis, globals); // GPUBufferUsage and the like, which a browser has
    return create([]);
  } catch (cause) {
    if (text(cause).startsWith("Cannot find package 'webgpu'")) {
      throw new DeviceError(
        "webgpu: the package 'webgpu' is not installed; npm install webgpu, or use device \"cpu\"",
        { cause },
      );
    }
    throw new DeviceError(`webgpu: Dawn cannot be loaded on this machine: ${text(cause)}`, { cause });
  }
}

/** A GPUSupportedLimits holds its values in getters of its prototype, which object spread does not see. */
function readLimits(supported: GPUSupportedLimits): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const name in supported) {
    const value: unknown = supported[name as keyof GPUSupportedLimits];
    if (typeof value === "number") limits[name] = value;
  }
  return limits;
}

function text(error: unknown): string {
  return error instanceof Error || (typeof error === "object" && error !== null && "message" in error)
    ? String(error.message)
    : String(error);
}
