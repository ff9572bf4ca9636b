/**
 * The generated parts of the documents: docs/support.md from the declarations, and every table between
 * `<!-- table:NAME -->` and `<!-- end -->` in README.md and docs/performance.md from the newest record of each suite in
 * bench/results. `npm run tables` writes them; `npm run check` fails when a document differs from its records.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { ops } from "../engine/ops/index.ts";
import { weightDTypes } from "../kernels/formats/index.ts";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import { table, tables } from "./bench_tables.ts";

const root = new URL("../", import.meta.url);

function fill(document: string): string {
  return document.replace(/<!-- table:(\w+) -->[^]*?<!-- end -->/g, (all, name: string) => {
    const render = tables[name];
    if (!render) throw new Error(`table:${name}: no such table`);
    const rendered = render();
    return rendered === null ? all : `<!-- table:${name} -->\n\n${rendered}\n\n<!-- end -->`;
  });
}

function support(): string {
  const rows = (Object.values(kernels) as AnyKernel[]).map((kernel) => {
    const dims = Object.fromEntries(kernel.dimNames.map((d) => [d, 64]));
    const { rel, abs, why } = kernel.spec.tolerance(kernel.spec.cases[0]?.dims ?? dims, kernel.spec.defaults);
    const weights = kernel.weightSlot === undefined ? "" : weightDTypes.join(" ");
    const bound =
      rel === 0 && abs === 0 ? "exact" : `${rel.toPrecision(2)} · \\|y\\| + ${abs.toPrecision(2)}`;
    return [
      `\`${kernel.name}\``,
      kernel.spec.formula.replaceAll("|", "\\|"),
      "yes",
      "yes",
      weights,
      bound,
      why,
    ];
  });
  const gradients = Object.values(ops).map(({ spec }) => [
    `\`${spec.name}\``,
    spec.inputs.join(", "),
    spec.differentiable.join(", "),
    spec.checks.length,
  ]);
  return `# Support

Generated from the declarations by \`npm run tables\`. Each kernel is compared on each device with its float64 reference within the
bound (that of its first case; some depend on sizes) by test/kernels.conformance.\\*.test.ts; each op's gradients with central differences
by test/ops.gradcheck.test.ts.

## Kernels

${table(["kernel", "formula", "cpu", "webgpu", "weight formats", "bound on \\|got − reference\\|", "why"], rows)}

## Ops

${table(["op", "inputs", "gradients", "checks"], gradients)}
`;
}

const check = process.argv.includes("--check");
let stale = 0;
for (const path of ["README.md", "docs/performance.md", "docs/support.md"]) {
  const file = fileURLToPath(new URL(path, root));
  const before = existsSync(file) ? readFileSync(file, "utf8") : "";
  const raw = path === "docs/support.md" ? support() : fill(before);
  const after = await format(raw, { ...(await resolveConfig(file)), filepath: file });
  if (after === before) continue;
  if (check) {
    console.error(`${path} differs from the declarations or records: npm run tables`);
    stale++;
  } else {
    writeFileSync(file, after);
    console.log(`wrote ${path}`);
  }
}
process.exitCode = stale > 0 ? 1 : 0;
