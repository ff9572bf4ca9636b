/**
 * A GPUDevice that computes nothing and writes down what it is told: for what no adapter here shows, such as the order of commands,
 * limits, timestamps, and errors that come late.
 */

/** A method's name, and what it was given. */
export type Call = readonly [method: string, ...given: unknown[]];

/** Numbers of https://www.w3.org/TR/webgpu/, for a process that has not loaded Dawn. */
const flags = {
  GPUBufferUsage: { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128, QUERY_RESOLVE: 512 },
  GPUMapMode: { READ: 1 },
  GPUShaderStage: { COMPUTE: 4 },
};

/** Typed arrays that are used again are kept as they were. */
const kept = (given: unknown): unknown => (given instanceof Uint32Array ? given.slice(0, 128) : given);

export class FakeGpu {
  readonly calls: Call[] = [];
  /** What methods answer, by their names; those of things that `device` made, too. */
  readonly answers: Record<string, ((...given: never[]) => unknown) | undefined> = {
    popErrorScope: () => Promise.resolve(null),
    addEventListener: (type: string, listener: (event: object) => void) => {
      if (type === "uncapturederror") this.#listeners.push(listener);
    },
  };
  readonly device: GPUDevice;
  lose: (info: object) => void = () => undefined;
  readonly #listeners: ((event: object) => void)[] = [];

  constructor(facts: object = {}) {
    for (const [name, values] of Object.entries(flags))
      if (!(name in globalThis)) Object.assign(globalThis, { [name]: values });
    const lost = new Promise<object>((resolve) => (this.lose = resolve));
    this.device = this.#made({
      features: new Set(),
      adapterInfo: {},
      limits: {
        maxBufferSize: 2 ** 28,
        maxStorageBufferBindingSize: 2 ** 27,
        minStorageBufferOffsetAlignment: 256,
        maxStorageBuffersPerShaderStage: 8,
      },
      lost,
      queue: this.#made({}),
      ...facts,
    }) as GPUDevice;
  }

  /** An error outside of every scope; false where a listener keeps the browser or Dawn from printing it. */
  report(message: string): boolean {
    let printed = true;
    const event = { error: { message }, preventDefault: () => (printed = false) };
    for (const listener of this.#listeners) listener(event);
    return printed;
  }

  /** What these methods were given, in order; the calls before are forgotten. */
  take(...methods: readonly string[]): Call[] {
    return this.calls.splice(0).filter(([method]) => methods.includes(method));
  }

  /** What has `facts`, and every method: those that `create`, `begin` or `finish` give such a thing, too. */
  #made(facts: object): unknown {
    return new Proxy(facts, {
      get: (target, name) => {
        if (name in target || typeof name === "symbol" || name === "then")
          return Reflect.get(target, name) as unknown;
        return (...given: unknown[]): unknown => {
          this.calls.push([name, ...given.map(kept)]);
          const answer = this.answers[name];
          if (answer) return answer(...(given as never[]));
          return /^(create|begin|finish)/.test(name) ? this.#made({ ...(given[0] as object) }) : undefined;
        };
      },
    });
  }
}
