/**
 * Opens a device by name. `auto` takes WebGPU on a hardware adapter, else the CPU; and `explain` is called with
 * what was chosen and why.
 */
import type { Device } from "../device.ts";
import { BadInputError, DeviceError } from "../errors.ts";
import type { CpuOptions } from "./cpu/options.ts";

export const deviceChoices = ["auto", "cpu", "webgpu"] as const;
export type DeviceChoice = (typeof deviceChoices)[number];

/** All but `explain` are for the cpu device alone. */
export interface OpenDeviceOptions extends Pick<CpuOptions, "threads" | "build" | "v8Flags" | "maxBytes"> {
  /** Called with one line about the choice. */
  readonly explain?: ((line: string) => void) | undefined;
}

/** Throws BadInputError when this machine has no such device. The caller closes it (`await using`, or `close`). */
export async function openDevice(
  choice: DeviceChoice = "auto",
  { explain, ...options }: OpenDeviceOptions = {},
): Promise<Device> {
  const told = (device: Device, why: string): Device => {
    explain?.(`device ${device.info.description}: ${why}`);
    return device;
  };
  switch (choice) {
    case "cpu":
      return told(await openCpuDevice(options), "asked for");
    case "webgpu":
      try {
        const unused = options.threads === undefined ? "" : " (threads has no effect on it)";
        return told(await openWebGpuDevice("any"), `asked for${unused}`);
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        throw new BadInputError(`device "webgpu": ${error.message}`, { cause: error });
      }
    case "auto": {
      let reason: string;
      try {
        return told(await openWebGpuDevice("hardware"), "auto takes WebGPU, the adapter is hardware");
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        [reason = ""] = error.message.split("; "); // without the advice that follows
      }
      return told(await openCpuDevice(options), `auto takes the CPU (${reason})`);
    }
    default:
      throw new BadInputError(`device "${String(choice)}": one of ${deviceChoices.join(", ")} is expected`);
  }
}

// Imported when needed: a CPU run does not load Dawn, a WebGPU run not the WebAssembly kernels.
async function openCpuDevice(options: CpuOptions): Promise<Device> {
  const { openCpu } = await import("./cpu/backend.ts");
  return openCpu(options);
}

async function openWebGpuDevice(adapter: "any" | "hardware"): Promise<Device> {
  const { openWebGpuDevice: open } = await import("./webgpu/backend.ts");
  return open({ adapter });
}
