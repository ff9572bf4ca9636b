/** The report of a table of cells (`sweep`, `compare`): the table, perplexity against cost, and against each dial. */
import type { CellResult } from "../cell_table.ts";
import { change, figure, learnerName, percent } from "../format.ts";
import { type Report, bullets, inWords, tableOf } from "./markdown.ts";
import { type Series, colours } from "./plot.ts";

export type CellLine = CellResult & {
  readonly type: "cell";
  readonly text: string | null;
  readonly recipe: Readonly<Record<string, unknown>> | null;
  readonly method?: string;
} & Readonly<Record<string, unknown>>;

/** What a config line says was varied: values by dial, or the names of methods. */
export interface GridFacts {
  readonly grid?: Readonly<Record<string, readonly unknown[]>>;
  readonly methods?: readonly string[];
}

/** What the frozen model sees. */
const readingDials = ["method", "chunk", "window"];

export function cellsReport(
  report: Report,
  { grid = {}, methods }: GridFacts,
  lines: readonly CellLine[],
  best: number | null,
): void {
  const cells = lines.filter(({ text }) => text === null);
  const varied = Object.keys(grid).filter((dial) => (grid[dial]?.length ?? 0) > 1);
  const dials = methods ? ["method", "window"] : varied;
  report.heading("All texts");
  report.add(bullets([`in all cells: ${shared(cells)}`]));
  report.add(cellsTable(cells, dials, best));
  report.add(
    "GFLOP, MB and ms are those of a token: what it takes to read it, and beside that its part in the updates.",
  );
  report.figure("cost", "perplexity against what a token costs", {
    ...{ x: "GFLOP a token, update included", y: "perplexity", scattered: true },
    series: sides(cells, (some) => some.map(costPoint)),
  });
  for (const dial of methods ? [] : varied) {
    const values = [...new Set(cells.map((cell) => valueOf(cell, dial)))].filter((value) => value !== null);
    const numeric = values.every((value) => typeof value === "number");
    if (numeric)
      report.figure(dial, `perplexity against ${dial.replaceAll("_", " ")}`, {
        ...{ x: dial.replaceAll("_", " "), y: "perplexity, the best of the other dials" },
        ...{ xScale: values.every((value) => Number(value) > 0) ? "log" : "linear" },
        series: sides(cells, (some) => bestBy(some, dial)),
      });
  }
  const texts = [...new Set(lines.map(({ text }) => text))].filter((text) => text !== null);
  if (texts.length > 1)
    for (const text of texts) {
      report.heading(text);
      report.add(
        cellsTable(
          lines.filter((line) => line.text === text),
          dials,
          null,
        ),
      );
    }
}

/** The points of the frozen model, and those of each way of learning. */
function sides(
  cells: readonly CellLine[],
  points: (some: readonly CellLine[]) => (readonly [number, number])[],
): Series[] {
  const name = ({ templora, recipe }: CellLine): string =>
    templora ? learnerName(recipe?.["adapt"]) : "base";
  const palette = [colours.lora, colours.other, colours.third];
  const learnt = [...new Set(cells.filter(({ templora }) => templora).map(name))];
  const series = ["base", ...learnt].map((side, i) => ({
    name: side,
    colour: (i === 0 ? colours.base : palette[i - 1]) ?? colours.other,
    points: points(cells.filter((cell) => name(cell) === side)),
  }));
  return series.filter((one) => one.points.length > 0);
}

const costPoint = ({ flops, tokens, ppl }: CellLine): [number, number] => [
  (flops.inference + flops.update) / tokens / 1e9,
  ppl ?? NaN,
];

/** The windows and the values of the recipe that are the same wherever there are any. */
function shared(cells: readonly CellLine[]): string {
  const values = new Map<string, Set<string>>();
  for (const { chunk, window, train_window, recipe } of cells)
    for (const [name, value] of Object.entries<unknown>({ chunk, window, train_window, ...recipe }))
      if (value !== undefined) values.set(name, (values.get(name) ?? new Set()).add(inWords(value)));
  const same = [...values].filter(([, { size }]) => size === 1);
  return same.map(([name, of]) => `${name.replaceAll("_", " ")} ${[...of].join("")}`).join(", ");
}

/** The value of a dial in a cell; null where the frozen model does not see it. */
const valueOf = (cell: CellLine, dial: string): unknown => cell[dial] ?? cell.recipe?.[dial] ?? null;

/** The lowest perplexity for each value of a dial. */
function bestBy(cells: readonly CellLine[], dial: string): [number, number][] {
  const best = new Map<number, number>();
  for (const cell of cells) {
    const value = valueOf(cell, dial);
    if (typeof value === "number" && cell.ppl !== null)
      best.set(value, Math.min(best.get(value) ?? Infinity, cell.ppl));
  }
  return [...best].sort(([a], [b]) => a - b);
}

function cellsTable(cells: readonly CellLine[], dials: readonly string[], best: number | null): string {
  const key = (cell: CellLine): string => JSON.stringify(readingDials.map((dial) => cell[dial]));
  const rows = cells.map((cell) => {
    const base = cells.find((other) => !other.templora && key(other) === key(cell));
    const each = ({ inference, update }: CellResult["flops"], unit: number): string[] =>
      [inference, update].map((amount) => figure(amount / cell.tokens / unit));
    return [
      `${cell.templora ? learnerName(cell.recipe?.["adapt"]) : "base"}${cell.failed ? " (not finite)" : cell.cell === best ? " (best)" : ""}`,
      ...dials.map((dial) => shown(valueOf(cell, dial))),
      ...[figure(cell.ppl), cell.templora ? percent(change(base?.ppl ?? null, cell.ppl)) : ""],
      ...[...each(cell.flops, 1e9), ...each(cell.bytes, 1e6), ...each(cell.seconds, 1e-3)],
    ];
  });
  const costs = ["GFLOP", "update GFLOP", "MB", "update MB", "ms", "update ms"];
  return tableOf(
    ["", ...dials.map((dial) => dial.replaceAll("_", " ")), "perplexity", "change", ...costs],
    rows,
  );
}

function shown(value: unknown): string {
  if (typeof value === "number" || typeof value === "string") return String(value);
  return typeof value === "boolean" ? (value ? "on" : "off") : "-";
}
