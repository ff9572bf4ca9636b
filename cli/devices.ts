/** `templora devices`: what this machine can compute on. */
import { availableParallelism } from "node:os";
import type { Build } from "../engine/backends/cpu/options.ts";
import { DeviceError } from "../engine/errors.ts";
import { asFlags } from "./errors.ts";
import { table } from "./format.ts";
import { keeping, openRecords } from "./files.ts";
import { type CommonOptions, type Define, addOutputOptions } from "./options.ts";
import type { Io } from "./output.ts";
import { openTerminal } from "./session.ts";

type DevicesOptions = Pick<CommonOptions, "json" | "quiet">;

export const devices: Define = (command, io) => {
  command.description(
    "Lists the CPU and the WebGPU adapter with what matters of them, and which one --device auto takes.",
  );
  addOutputOptions(command)
    .addHelpText("after", "\nExample:\n  templora devices\n")
    .action((options: DevicesOptions) => list(options, io));
};

/** Limits that decide what fits. */
const limitsShown = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupsPerDimension",
] as const;

async function list(options: DevicesOptions, io: Io): Promise<void> {
  using terminal = openTerminal(options, io);
  using records = await openRecords(options.json, io, terminal);
  await keeping([records.file], terminal, async () => {
    const [cpu, webgpu] = [await describeCpu(), await describeWebGpu()];
    const auto = webgpu.available && webgpu.kind === "hardware" ? "webgpu" : "cpu";
    for (const device of [cpu, webgpu]) {
      const { device: name, available, ...facts } = device;
      records.write({ type: "device", device: name, available, auto: name === auto, ...facts });
      const title = `${name}${available ? "" : ": not available"}${name === auto ? "  (--device auto takes this)" : ""}`;
      const rows = Object.entries(facts).flatMap(([key, value]) => rowsOf(key, value));
      terminal.result(`${terminal.style(title, "bold")}\n${table(rows).replaceAll(/^/gm, "  ").trimEnd()}\n`);
    }
  });
}

interface Described {
  readonly device: string;
  readonly available: boolean;
  readonly [fact: string]: unknown;
}

async function describeCpu(): Promise<Described> {
  const { openCpu } = await import("../engine/backends/cpu/backend.ts");
  const { describeBuild } = await import("../engine/backends/cpu/build.ts");
  try {
    const device = await openCpu({ threads: 1, v8Flags: true });
    await device.close();
    const { build, shared } = device.info.facts;
    const threads = shared === true ? availableParallelism() : 1;
    return {
      device: "cpu",
      available: true,
      threads,
      build: describeBuild(build as Build, true),
      shared_memory: shared,
    };
  } catch (error) {
    return unavailable("cpu", error);
  }
}

async function describeWebGpu(): Promise<Described> {
  try {
    const { openWebGpu } = await import("../engine/backends/webgpu/device.ts");
    const opened = await openWebGpu();
    const { software, limits, device: model, ...adapter } = opened.adapter;
    opened.destroy();
    const kind = software ? "software" : "hardware";
    const shown = Object.fromEntries(
      limitsShown.flatMap((name) => (name in limits ? [[name, limits[name]]] : [])),
    );
    return { device: "webgpu", available: true, kind, model, ...adapter, limits: shown };
  } catch (error) {
    return unavailable("webgpu", error);
  }
}

function unavailable(device: string, error: unknown): Described {
  if (!(error instanceof DeviceError)) throw error;
  return { device, available: false, reason: asFlags(error.message) };
}

/** A fact as rows of two left-aligned cells. */
function rowsOf(key: string, value: unknown): string[][] {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return Object.entries(value).flatMap(([name, inner]) => rowsOf(name, inner));
  }
  const text = Array.isArray(value) ? value.join(", ") || "none" : String(value);
  return text === "" ? [] : [[key.replaceAll("_", " "), text]];
}
