/**
 * Opens a device by name. `auto` takes WebGPU on a hardware adapter, else the CPU; never silently: `explain` hears what
 * was chosen and why.
 */
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
        reason = error.message;
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
  const { openWebGpuDevice: open } = await import("./webgpu/backend.ts");
  return open({ adapter });
}
