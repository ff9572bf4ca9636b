/** How the `cpu` device is opened. */
export const builds = ["wide", "relaxed", "plain"] as const;
export type Build = (typeof builds)[number];

export interface LoadOptions {
  /** Default "auto": TEMPLORA_CPU_BUILD, else the fastest that the engine runs. */
  readonly build?: Build | "auto" | undefined;
  /** false: memory that is not shared, hence one thread; default: shared where the engine can. */
  readonly shared?: boolean | undefined;
  /**
   * Set the flags of V8 that make the kernels faster (relaxed SIMD in Node 20, vectors of 256 bits in Node 24). They hold
   * for all WebAssembly that the process compiles from then on; default: leave them as they are.
   */
  readonly v8Flags?: boolean | undefined;
  /** Most memory, in bytes; default: what WebAssembly can address. */
  readonly maxBytes?: number | undefined;
}

export interface CpuOptions extends LoadOptions {
  /** Threads that compute, the main thread included; default: all cores. */
  readonly threads?: number | undefined;
  /** Time each kernel; read by `profile`. */
  readonly profile?: boolean;
  /** Fill new buffers with NaN, to find kernels that read what was never written. */
  readonly poison?: boolean;
}
