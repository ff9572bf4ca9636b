/** The part of the WebAssembly interface that the cpu device uses: @types/node leaves it to TypeScript's DOM library. */
declare namespace WebAssembly {
  function validate(code: Uint8Array<ArrayBuffer>): boolean;
  function compile(code: Uint8Array<ArrayBuffer>): Promise<Module>;

  class Module {
    static exports(module: Module): { readonly name: string; readonly kind: string }[];
  }
  class Memory {
    constructor(limits: { initial: number; maximum: number; shared: boolean });
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
    grow(pages: number): number;
  }
  class Global {
    value: number;
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, Memory>>);
    readonly exports: Record<string, unknown>;
  }
}
