/**
 * The generated parts of the documents: docs/support.md from the declarations, and every table between
 * `<!-- table:NAME -->` and `<!-- end -->` in README.md and docs/performance.md from the newest record of each suite in
 * bench/results. `npm run tables` writes them; `npm run check` fails when a document differs from its records.
 */
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { ops } from "../engine/ops/index.ts";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel } from "../kernels/kernel.ts";

const root = new URL("../", import.meta.url);
const results = new URL("bench/results/", root);

type Row = Readonly<Record<string, unknown>>;
interface Record_ extends Row {
  readonly suite: string;
  readonly date: string;
  readonly commit: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  readonly timings: readonly Row[];
}

/** The newest record of a suite, or null. */
function newest(suite: string): Record_ | null {
  if (!existsSync(results)) return null;
  const records = readdirSync(results)
    .filter((name) => name.startsWith(`${suite}-`) && name.endsWith(".json"))
    .map((name) => JSON.parse(readFileSync(new URL(name, results), "utf8")) as Record_)
    .filter((record) => record.suite === suite)
    .sort((a, b) => a.date.localeCompare(b.date));
  return records.at(-1) ?? null;
}

function text(value: unknown): string {
  if (typeof value === "number")
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return typeof value === "string" ? value : "";
}

function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const line = (cells: readonly unknown[]): string => `| ${cells.map(text).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Where a table's figures come from, in one line under it. */
function source({ suite, date, commit, machine }: Record_): string {
  const { cpu, cores, node } = machine;
  return `\nFrom bench/results, suite \`${suite}\`, ${date.slice(0, 10)}, commit ${commit}: ${cpu}, ${cores} cores, Node ${node}.`;
}

function peers({ timings }: Record_): string {
  return table(
    ["work", "library", "ms", "GFLOP/s", "its time ÷ ours"],
    timings.map((t) => [t.work, t.library, t.ms, t.gflops, t.ratio]),
  );
}

const tables: Readonly<Record<string, (record: Record_) => string>> = {
  ppl: ({ timings }) =>
    table(
      [
        "text",
        "device",
        "tokens",
        "chunk",
        "window",
        "lr",
        "base ppl",
        "Temp-LoRA ppl",
        "change, %",
        "tokens/s",
      ],
      timings.map((t) => [
        t.text,
        t.device,
        t.tokens,
        t.chunk,
        t.window,
        t.lr,
        t.base_ppl,
        t.lora_ppl,
        -Number(t.reduction_percent),
        t.tokens_per_second,
      ]),
    ),
  update: (record) =>
    [
      `One chunk step (${text(record.model)}, chunk ${text(record.chunk)}, window ${text(record.window)}, rank ${text(record.rank)}, ${text(record.epochs)} epochs, scoring shared with the first): ` +
        `${text(record.seconds_per_step)} s, ${text(record.gflops)} GFLOP/s = ${text(record.share_of_fma_percent)} % of the register-only FMA rate of the same run (${text(record.fma_gflops)} GFLOP/s).\n`,
      table(
        ["kernel", "calls", "ms", "share of the step, %", "GFLOP/s", "of the FMA rate, %"],
        record.timings
          .slice(0, 12)
          .map((t) => [t.name, t.calls, t.ms, t.percent, t.gflops, t.share_of_fma_percent]),
      ),
    ].join("\n"),
  matmul: ({ timings }) =>
    table(
      ["threads", "product", "ms", "GFLOP/s", "of the FMA rate, %", "GB/s"],
      timings.map((t) => [t.threads, t.name, t.ms, t.gflops, Math.round(100 * Number(t.ofFma)), t.gbps]),
    ),
  peers,
};

function fill(document: string): string {
  return document.replace(/<!-- table:(\w+) -->[^]*?<!-- end -->/g, (all, name: string) => {
    const record = newest(name);
    const render = tables[name];
    if (!record || !render) return all;
    return `<!-- table:${name} -->\n\n${render(record)}\n${source(record)}\n\n<!-- end -->`;
  });
}

function support(): string {
  const rows = (Object.values(kernels) as AnyKernel[]).map((kernel) => {
    const dims = Object.fromEntries(kernel.dimNames.map((d) => [d, 64]));
    const { rel, abs, why } = kernel.spec.tolerance(kernel.spec.cases[0]?.dims ?? dims, kernel.spec.defaults);
    const weights = kernel.weightSlot === undefined ? "" : "f32 f16 bf16 q4_0 q4_1 q8_0";
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
