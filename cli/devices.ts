/** `templora devices`: what this machine can compute on. */
import { availableParallelism } from "node:os";
import type { Build } from "../engine/backends/cpu/build.ts";
import { DeviceError } from "../engine/errors.ts";
import { asFlags } from "./errors.ts";
import { table } from "./format.ts";
import { type Io, Terminal, openRecords } from "./output.ts";

export interface DevicesOptions {
  readonly json?: string;
  readonly quiet?: boolean;
}

/** Limits that decide what fits. */
const limitsShown = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupsPerDimension",
] as const;

export async function devices(options: DevicesOptions, io: Io): Promise<void> {
  const terminal = new Terminal(io, { quiet: options.quiet === true, jsonOnStdout: options.json === "-" });
  const records = openRecords(options.json, io);
  try {
    const [cpu, webgpu] = [await describeCpu(), await describeWebGpu()];
    const auto = webgpu.available && webgpu.kind === "hardware" ? "webgpu" : "cpu";
    for (const device of [cpu, webgpu]) {
      const { device: name, available, ...facts } = device;
      records.write({ type: "device", device: name, available, auto: name === auto, ...facts });
      const title = `${name}${available ? "" : ": not available"}${name === auto ? "  (--device auto takes this)" : ""}`;
      const rows = Object.entries(facts).flatMap(([key, value]) => rowsOf(key, value));
      terminal.result(`${terminal.style(title, "bold")}\n${table(rows).replaceAll(/^/gm, "  ").trimEnd()}\n`);
    }
  } finally {
    records.close();
  }
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
