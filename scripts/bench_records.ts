/** The records of bench/results, and how their rows become a table. */
import { existsSync, readFileSync, readdirSync } from "node:fs";

const results = new URL("../bench/results/", import.meta.url);

export type Row = Readonly<Record<string, unknown>>;
export interface Record_ extends Row {
  readonly suite: string;
  readonly date: string;
  readonly commit: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  /** Of runs on WebGPU. */
  readonly adapter_info?: {
    readonly device: string;
    readonly description: string;
    readonly software: boolean;
  };
  readonly timings: readonly Row[];
}

/** All records of a suite, the newest last. */
export function recordsOf(suite: string): Record_[] {
  if (!existsSync(results)) return [];
  return readdirSync(results)
    .filter((name) => name.startsWith(`${suite}-`) && name.endsWith(".json"))
    .map((name) => JSON.parse(readFileSync(new URL(name, results), "utf8")) as Record_)
    .filter((record) => record.suite === suite)
    .sort((a, b) => a.date.localeCompare(b.date));
}

/** The newest record of a suite, or null. */
export const newest = (suite: string): Record_ | null => recordsOf(suite).at(-1) ?? null;

export function text(value: unknown): string {
  if (typeof value === "number")
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return typeof value === "string" ? value.replaceAll("|", "\\|") : "";
}

export function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const line = (cells: readonly unknown[]): string => `| ${cells.map(text).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Where a table's figures come from, in one line under it. */
function source({ suite, date, commit, machine, adapter_info }: Record_): string {
  const { cpu, cores, node } = machine;
  const gpu =
    adapter_info?.software === false ? `${adapter_info.device} (${adapter_info.description}), ` : "";
  return `\nFrom bench/results, suite \`${suite}\`, ${date.slice(0, 10)}, commit ${commit}: ${gpu}${cpu}, ${cores} cores, Node ${node}.`;
}

export type Column = readonly [title: string, cell: string | ((row: Row) => unknown)];

/** Rows under chosen columns: a key of the row, or a function of it. */
export function columns(rows: readonly Row[], chosen: readonly Column[]): string {
  return table(
    chosen.map(([title]) => title),
    rows.map((row) => chosen.map(([, cell]) => (typeof cell === "string" ? row[cell] : cell(row)))),
  );
}

/** The table of a suite's newest record; null where there is none. */
export const of = (suite: string, render: (record: Record_) => string) => (): string | null => {
  const record = newest(suite);
  return record && `${render(record)}\n${source(record)}`;
};
