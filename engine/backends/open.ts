/**
 * Opens a device by name. `auto` takes WebGPU on a hardware adapter, else the CPU; never silently: `explain` hears what
 * was chosen and why.
 */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Device } from "../device.ts";
import { BadInputError, DeviceError } from "../errors.ts";

export type DeviceChoice = "auto" | "cpu" | "webgpu";

export interface OpenDeviceOptions {
  readonly device?: DeviceChoice | undefined;
  /** Of the cpu device; default: all cores. */
  readonly threads?: number | undefined;
  /** Hears one line about the choice. */
  readonly explain?: ((line: string) => void) | undefined;
}

/** BadInputError when the device asked for is not there. */
export async function openDevice({
  device: choice = "auto",
  threads,
  explain,
}: OpenDeviceOptions = {}): Promise<Device> {
  switch (choice) {
    case "cpu": {
      const device = await openCpuDevice(threads);
      explain?.(`device ${device.info.description}: asked for`);
      return device;
    }
    case "webgpu": {
      const device = await openWebGpuDevice("any").catch((error: unknown) => {
        throw error instanceof DeviceError
          ? new BadInputError(`--device webgpu: ${error.message}`, { cause: error })
          : error;
      });
      explain?.(
        `device ${device.info.description}: asked for${threads === undefined ? "" : " (--threads has no effect on it)"}`,
      );
      return device;
    }
    case "auto": {
      let reason: string;
      try {
        const device = await openWebGpuDevice("hardware");
        explain?.(`device ${device.info.description}: auto takes WebGPU, the adapter is hardware`);
        return device;
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        [reason = ""] = error.message.split("; "); // what to do about it follows
      }
      const device = await openCpuDevice(threads);
      explain?.(`device ${device.info.description}: auto takes the CPU (${reason})`);
      return device;
    }
  }
}

// Imported when asked for: a CPU run loads no Dawn, and the other way round.
async function openCpuDevice(threads: number | undefined): Promise<Device> {
  const { openCpu } = await import("./cpu/backend.ts");
  return openCpu(threads === undefined ? {} : { threads });
}

async function openWebGpuDevice(adapter: "any" | "hardware"): Promise<Device> {
  assertVulkanDriver();
  const { openWebGpuDevice: open } = await import("./webgpu/backend.ts");
  return open({ adapter });
}

/**
 * Dawn without a Vulkan driver prints warnings of its own, with native stack frames. On Linux one can see beforehand
 * that there is none: the loader finds drivers by their manifests.
 * https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md#driver-discovery
 */
export function assertVulkanDriver(env: Readonly<Record<string, string | undefined>> = process.env): void {
  if (process.platform !== "linux") return;
  const paths = (value: string | undefined): string[] =>
    (value ?? "").split(":").filter((path) => path !== "");
  const given = [
    ...paths(env["VK_DRIVER_FILES"] ?? env["VK_ICD_FILENAMES"]),
    ...paths(env["VK_ADD_DRIVER_FILES"]),
  ];
  const home = env["HOME"] ?? homedir();
  const searched = [
    ...[
      env["XDG_CONFIG_HOME"] ?? join(home, ".config"),
      ...paths(env["XDG_CONFIG_DIRS"] ?? "/etc/xdg"),
      "/etc",
    ],
    ...[env["XDG_DATA_HOME"] ?? join(home, ".local/share"), ...paths(env["XDG_DATA_DIRS"])],
    ...["/usr/local/etc", "/usr/local/share", "/usr/share", "/run/opengl-driver/share"],
  ];
  const hasManifest = (folder: string): boolean => {
    const manifests = join(folder, "vulkan/icd.d");
    return existsSync(manifests) && readdirSync(manifests).some((name) => name.endsWith(".json"));
  };
  if (given.some((path) => existsSync(path))) return;
  if (given.length === 0 && searched.some(hasManifest)) return;
  throw new DeviceError(
    given.length > 0
      ? `webgpu: no Vulkan driver at ${given.join(", ")}; correct VK_DRIVER_FILES or use --device cpu`
      : "webgpu: no Vulkan driver found; install one (mesa-vulkan-drivers, for instance) or use --device cpu",
  );
}
