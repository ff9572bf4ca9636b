// @ts-check
/**
 * The beginning of a thread that runs a module of this package. Loaders of TypeScript do not reach the threads of Node 20, so in a checkout,
 * where the module is TypeScript, the loader is called here.
 */
import { handed } from "./workers.js";

const { module } = /** @type {{ module: string }} */ (handed);
// eslint-disable-next-line import-x/no-extraneous-dependencies -- the published package has no TypeScript
if (module.endsWith(".ts")) (await import("tsx/esm/api")).register();
await import(module);
