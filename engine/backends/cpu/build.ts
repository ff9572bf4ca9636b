/** Which build of the kernels this machine runs: relaxed SIMD (fused multiply-add) where the engine knows it, else plain. */
import { readFile } from "node:fs/promises";
import { setFlagsFromString } from "node:v8";
import { DeviceError } from "../../errors.ts";

export type Build = "relaxed" | "plain";

export interface Kernels {
  readonly build: Build;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

/** Where scripts/build-wasm.ts leaves them; the same place relative to the sources and to dist/. */
const folder = new URL("../../../kernels/build/", import.meta.url);
const PAGES_AT_START = 16;
/** One page less than 4 GiB: an address past the end of a buffer must not wrap to 0. */
const MAX_PAGES = 65535;

/** Compiles the kernels; `shared` asks for memory that threads can share. */
export async function loadKernels(want: Build | "auto", shared: boolean): Promise<Kernels> {
  enableRelaxedSimd();
  let build: Build = want === "auto" ? "relaxed" : want;
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

async function read(build: Build, shared: boolean): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(`${build}${shared ? "" : "-unshared"}.wasm`, folder);
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
