/**
 * Which build of the kernels this machine runs: relaxed SIMD (fused multiply-add) where the engine knows it, else plain;
 * `wide` is the relaxed build, with tiles for an engine that pairs its 128-bit vectors into 256 bits.
 */
import { existsSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setFlagsFromString } from "node:v8";
import { BadInputError, DeviceError } from "../../errors.ts";

export const builds = ["wide", "relaxed", "plain"] as const;
export type Build = (typeof builds)[number];

export interface Kernels {
  readonly build: Build;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

/** Where scripts/build-wasm.ts leaves them; the same place relative to the sources and to dist/. */
const folder = new URL("../../../kernels/build/", import.meta.url);
/** Linux tells here what the processor can do. */
const CPU_INFO = "/proc/cpuinfo";
const PAGES_AT_START = 16;
/** One page less than 4 GiB: an address past the end of a buffer must not wrap to 0. */
const MAX_PAGES = 65535;

/** Compiles the kernels; `shared` asks for memory that threads can share. */
export async function loadKernels(want: Build | "auto", shared: boolean): Promise<Kernels> {
  enableRelaxedSimd();
  const pairs = pairsVectors();
  let build = want === "auto" ? preferred(pairs) : want;
  if (build === "wide" && pairs) setFlagsFromString("--experimental-wasm-revectorize");
  let code = await read(build, shared);
  if (want === "auto" && !WebAssembly.validate(code)) {
    build = "plain";
    code = await read(build, shared);
  }
  if (!WebAssembly.validate(code))
    throw new DeviceError(`cpu: this JavaScript engine refuses the ${build} SIMD build`);
  const memory = new WebAssembly.Memory({ initial: PAGES_AT_START, maximum: MAX_PAGES, shared });
  return { build, memory, module: await WebAssembly.compile(code) };
}

/** What `auto` takes, if the engine accepts it: TEMPLORA_CPU_BUILD, else the fastest. */
function preferred(pairs: boolean): Build {
  const named = process.env.TEMPLORA_CPU_BUILD;
  if (named === undefined || named === "") return pairs ? "wide" : "relaxed";
  const build = builds.find((name) => name === named);
  if (build === undefined)
    throw new BadInputError(`TEMPLORA_CPU_BUILD=${named}: choose one of ${builds.join(", ")}`);
  return build;
}

/**
 * V8 13 pairs vectors on x64 with AVX2, behind a flag that counts if set before the compile; it then holds for all modules
 * that the process compiles. The one in Node 22 (12.4) has the flag but not what our tiles need.
 */
function pairsVectors(): boolean {
  if (process.arch !== "x64" || Number.parseInt(process.versions.v8, 10) < 13) return false;
  return !existsSync(CPU_INFO) || readFileSync(CPU_INFO, "latin1").includes(" avx2 ");
}

const described: Record<Build, string> = {
  wide: "WebAssembly relaxed SIMD in 256 bits",
  relaxed: "WebAssembly relaxed SIMD",
  plain: "WebAssembly SIMD",
};

/** What a build is, and what would be faster here. */
export function describeBuild(build: Build): string {
  const older = build !== "wide" && process.arch === "x64" && Number.parseInt(process.versions.node, 10) < 24;
  return described[build] + (older ? "; Node 24 or newer may be twice as fast" : "");
}

async function read(build: Build, shared: boolean): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(`${build === "wide" ? "relaxed" : build}${shared ? "" : "-unshared"}.wasm`, folder);
  try {
    return new Uint8Array(await readFile(url));
  } catch (cause) {
    throw new DeviceError(`cpu: cannot read ${url.pathname}; make it with \`npm run build:wasm\``, { cause });
  }
}

/** Node 20 hides relaxed SIMD behind a flag, which counts if set before the first compile; later ones have it on. */
function enableRelaxedSimd(): void {
  if (Number.parseInt(process.versions.node, 10) < 22) setFlagsFromString("--experimental-wasm-relaxed-simd");
}
