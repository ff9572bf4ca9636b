/**
 * Which build of the kernels this machine runs: relaxed SIMD (fused multiply-add) where the engine knows it, else plain;
 * `wide` is the relaxed build, with tiles for an engine that pairs its 128-bit vectors into 256 bits.
 */
import { type Build, type LoadOptions, builds } from "./options.ts";
import { BadInputError, DeviceError } from "../../errors.ts";

export interface Kernels {
  readonly build: Build;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** The size, in bytes, to which the memory can grow. */
  readonly maxBytes: number;
}

/** Where scripts/build-wasm.ts writes the modules; the same place relative to the sources and to dist/. */
const folder = new URL("../../../kernels/build/", import.meta.url);
/** Where Linux lists what the processor can do. */
const CPU_INFO = "/proc/cpuinfo";
const PAGE = 65536;
const PAGES_AT_START = 16;
/** One page less than 4 GiB: an address past the end of a buffer must not wrap to 0. docs/performance.md says why not more. */
const MAX_PAGES = 65535;
/** Bytes that the cpu device can have at most. */
export const CPU_MEMORY = MAX_PAGES * PAGE;

const inNode = typeof process !== "undefined";
/** Infinity in a browser: it counts as the newest. */
const nodeMajor = inNode ? Number.parseInt(process.versions.node, 10) : Infinity;
const isX64 = inNode && process.arch === "x64";

/** Compiles the kernels and makes their memory. */
export async function loadKernels(options: LoadOptions): Promise<Kernels> {
  const { build: want = "auto", shared = typeof SharedArrayBuffer !== "undefined" } = options;
  const setFlag = await flagSetter(options.v8Flags === true);
  // Node 20 hides relaxed SIMD behind a flag, which counts if set before the first compile; later ones have it on.
  if (nodeMajor < 22) setFlag?.("--experimental-wasm-relaxed-simd");
  const pairs = setFlag !== undefined && (await pairsVectors());
  let build = want === "auto" ? preferred(pairs) : want;
  if (build === "wide" && pairs) setFlag("--experimental-wasm-revectorize");
  let code = await read(build, shared);
  if (want === "auto" && !WebAssembly.validate(code)) {
    build = "plain";
    code = await read(build, shared);
  }
  if (!WebAssembly.validate(code))
    throw new DeviceError(`cpu: this JavaScript engine refuses the ${build} SIMD build`);
  const maximum = Math.min(Math.floor((options.maxBytes ?? Infinity) / PAGE), MAX_PAGES);
  if (!(maximum >= PAGES_AT_START))
    throw new BadInputError(`maxBytes ${options.maxBytes}: at least ${PAGES_AT_START * PAGE} are needed`);
  const module = await WebAssembly.compile(code);
  return { build, module, memory: makeMemory(maximum, shared), maxBytes: maximum * PAGE };
}

function makeMemory(maximum: number, shared: boolean): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: PAGES_AT_START, maximum, shared });
  } catch (cause) {
    throw new DeviceError("cpu: the system has no memory for the kernels", { cause });
  }
}

/** A function that sets a flag of V8; undefined where flags must not be set, or there are none. */
async function flagSetter(wanted: boolean): Promise<((flag: string) => void) | undefined> {
  if (!wanted || !inNode) return undefined;
  const { setFlagsFromString } = await import("../host/workers.js");
  return setFlagsFromString;
}

/** What `auto` chooses, if the engine accepts it: TEMPLORA_CPU_BUILD, else the fastest. */
function preferred(pairs: boolean): Build {
  const named = inNode ? process.env.TEMPLORA_CPU_BUILD : undefined;
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
async function pairsVectors(): Promise<boolean> {
  if (!isX64 || Number.parseInt(process.versions.v8, 10) < 13) return false;
  const { existsSync, readFileSync } = await import("../host/files.ts");
  return !existsSync(CPU_INFO) || readFileSync(CPU_INFO, "latin1").includes(" avx2 ");
}

const described: Record<Build, string> = {
  wide: "WebAssembly relaxed SIMD in 256 bits",
  relaxed: "WebAssembly relaxed SIMD",
  plain: "WebAssembly SIMD",
};

/** What a build is, and what would be faster here. */
export function describeBuild(build: Build, v8Flags = false): string {
  const gains: string[] = [];
  if (!v8Flags && nodeMajor < 22 && build === "plain")
    gains.push("the option v8Flags would give relaxed SIMD");
  if (!v8Flags && nodeMajor >= 24 && isX64 && build === "relaxed")
    gains.push("the option v8Flags may make it twice as fast");
  if (nodeMajor < 24 && isX64 && build !== "wide")
    gains.push(`Node 24 or newer${v8Flags ? "" : " with v8Flags"} may be twice as fast`);
  return [described[build], ...gains].join("; ");
}

async function read(build: Build, shared: boolean): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(`${build === "wide" ? "relaxed" : build}${shared ? "" : "-unshared"}.wasm`, folder);
  try {
    if (!inNode) return new Uint8Array(await (await fetch(url)).arrayBuffer()); // what is no module is refused below
    const { readFile } = await import("../host/files.ts");
    return new Uint8Array(await readFile(url));
  } catch (cause) {
    throw new DeviceError(`cpu: cannot read ${url.pathname}; make it with \`npm run build:wasm\``, { cause });
  }
}
