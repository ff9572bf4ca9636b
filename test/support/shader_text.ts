/** Shaders as other readers than Dawn take them: with the overrides' values in the text, translated by naga. */
import * as naga from "naga-wasm";

/** The text with constants in place of the overrides, so that sizes of workgroups and arrays are numbers. */
export function withOverrides(text: string, values: Readonly<Record<string, number>> = {}): string {
  return text.replace(
    /\boverride\s+(\w+)(?:\s*:\s*(\w+))?(?:\s*=\s*([^;]+))?;/g,
    (_, name: string, type: string | undefined, initial: string | undefined) => {
      const given = values[name];
      const value = given === undefined ? initial : type === "bool" ? String(given !== 0) : String(given);
      if (value === undefined) throw new Error(`override ${name} has no value`);
      return `const ${name}${type === undefined ? "" : `: ${type}`} = ${value};`;
    },
  );
}

/** Throws, in naga's words, where naga refuses a shader. */
export const check = (text: string): void => withNaga(text, () => undefined);

/** What naga makes of a shader for the drivers of Vulkan, Direct3D and Metal. */
export const translate = (text: string): { spirv: Uint32Array; hlsl: string; msl: string } =>
  withNaga(text, (module, info) => ({
    spirv: naga.writeSpirv(module, info, { flags: { debug: true } }),
    hlsl: naga.writeHlsl(module, info),
    msl: naga.writeMsl(module, info),
  }));

function withNaga<T>(text: string, use: (module: naga.Module, info: naga.ModuleInfo) => T): T {
  let module: naga.Module | undefined;
  let info: naga.ModuleInfo | undefined;
  try {
    module = naga.parseWgsl(text);
    info = naga.validate(module);
    return use(module, info);
  } catch (error) {
    throw error instanceof naga.NagaError ? new Error(error.formatted, { cause: error }) : error;
  } finally {
    info?.free();
    module?.free();
  }
}
