import { createRequire } from "node:module";

/** This package's version, from its package.json. */
export function version(): string {
  const manifest = createRequire(import.meta.url)("templora/package.json") as { version: string };
  return manifest.version;
}
