/** The flags of `templora bench`. */
import { type Command, Option } from "commander";
import { type CommonOptions, addCommonOptions, numeric } from "./options.ts";

/** In the order in which several are run. */
export const suiteNames = [
  "kernels",
  "decode",
  "prefill",
  "update",
  "memory",
  "startup",
  "tune",
  "peers",
] as const;
export type SuiteName = (typeof suiteNames)[number];
/** What runs when none is named. */
export const defaultSuites: readonly SuiteName[] = ["kernels", "decode", "prefill", "update"];

/** As commander delivers them: undefined = not given. */
export interface BenchCommandOptions extends CommonOptions {
  readonly suite?: string[];
  readonly only: string;
  readonly quick?: boolean;
  readonly record?: boolean;
  readonly chunk?: number;
  readonly window?: number;
  readonly rank: number;
  readonly dropout: number;
  readonly contextGrad: "on" | "off";
  readonly checkpointLayers: number;
  readonly reuseCache: number;
}

export function addBenchOptions(bench: Command): Command {
  const integer = true;
  bench
    .description(
      "Measures this machine: medians with quartiles over interleaved repetitions, GFLOP/s and GB/s by the kernels' declared " +
        "cost, and their share of the device's limits (a register-only FMA loop and a copy), measured in the same run. " +
        "Suites: kernels (each at a model's shapes), decode, prefill, update (Temp-LoRA's work on one chunk), memory (of " +
        "several chunks in a process of its own), startup, tune (which matrix tile is fastest on this WebGPU adapter, kept in " +
        "$TEMPLORA_CACHE/tune-webgpu.json and used from then on; may change the last bits of results), peers (other " +
        "libraries; needs the repository). " +
        `Default: ${defaultSuites.join(", ")}.`,
    )
    .argument("[suites...]", `any of ${suiteNames.join(", ")}`);
  return addCommonOptions(bench)
    .optionsGroup("Work:")
    .option("--suite <names...>", "the same as naming suites first")
    .option("--quick", "fewer repetitions and smaller sizes: seconds instead of minutes, wider spread")
    .option("--only <text>", "kernels: those with this in their name", "")
    .addOption(
      numeric("--chunk <tokens>", "update, memory: tokens a chunk (default: 512; --quick 64)", {
        integer,
        min: 2,
      }),
    )
    .addOption(
      numeric("--window <tokens>", "update, memory: context tokens before it (default: --chunk)", {
        integer,
        min: 0,
      }),
    )
    .addOption(numeric("--rank <r>", "rank of the adapter", { integer, min: 1, max: 4096 }).default(64))
    .addOption(
      numeric("--dropout <p>", "update, memory: on the adapter's input", { min: 0, below: 1 }).default(0),
    )
    .addOption(
      new Option(
        "--context-grad <on|off>",
        "update, memory: off: the context's keys and values are constants",
      )
        .choices(["on", "off"])
        .default("on"),
    )
    .addOption(
      numeric("--checkpoint-layers <n>", "update, memory: first layers that run again in the backward", {
        integer,
        min: 0,
      }).default(0),
    )
    .addOption(
      numeric(
        "--reuse-cache <k>",
        "update, memory: with --context-grad off, updates that cached keys and values outlive",
        { integer, min: 0, max: 1_000_000 },
      ).default(0),
    )
    .option("--record", "write bench/results/<suite>-<date>-<commit>.json (in a checkout)")
    .addHelpText("after", "\nExample:\n  templora bench kernels decode --quick --json -\n");
}
