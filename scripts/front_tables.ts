/** What a token costs and what it gains: windows without Temp-LoRA, and recipes with it, on the tuning books (suite `front`). */
import { type Record_, type Row, columns, newest, text } from "./bench_records.ts";
import { colours, plot } from "../cli/report/plot.ts";

/** One of the two models of a run. */
interface Side {
  readonly run: Row;
  readonly frozen: boolean;
}

/** In the words of the flags. */
function settingOf({ run, frozen }: Side): string {
  const { layers, context_grad, lr, adapt = "lora" } = run["recipe"] as Row;
  const learnt = adapt === "lora" ? "tuned" : `dynamic evaluation, ${text(adapt)}, lr ${String(lr)}`;
  const recipe = frozen ? "frozen" : context_grad === true ? `paper, lr ${String(lr)}` : learnt;
  const few = !frozen && Number(layers) > 0 ? `, layers ${String(layers)}` : "";
  const memory = run["knn"] === undefined ? "" : `, knn ${text(run["knn"])}`;
  return `${recipe}, window ${String(run["window"])}${few}${memory}`;
}

interface Point {
  readonly setting: string;
  readonly frozen: boolean;
  /** GFLOP a token, of reading and of updates. */
  readonly reading: number;
  readonly update: number;
  /** By book, in the order of `books`: the geometric mean of all seeds. */
  readonly ppl: readonly number[];
  /** Of a book, the fewest. */
  readonly seeds: number;
  /** From the best to the worst seed of a book, the most, in %. */
  readonly spread: number;
}

const booksOf = ({ timings }: Record_): string[] =>
  [...new Set(timings.map((run) => String(run["text"])))].sort();

function pointsOf(record: Record_): Point[] {
  const books = booksOf(record);
  const bySetting = new Map<string, Side[]>();
  for (const run of record.timings)
    for (const frozen of [true, false]) {
      if (run[frozen ? "base_ppl" : "lora_ppl"] === null) continue;
      const setting = settingOf({ run, frozen });
      bySetting.set(setting, [...(bySetting.get(setting) ?? []), { run, frozen }]);
    }
  return [...bySetting].map(([setting, sides]) => {
    const frozen = sides.every((side) => side.frozen);
    const gigaflops = (what: string): number =>
      sides.reduce((sum, { run }) => sum + Number((run["flops"] as Row)[what]) / Number(run["tokens"]), 0) /
      (1e9 * sides.length);
    return {
      ...{ setting, frozen, reading: gigaflops(frozen ? "base" : "score") },
      update: frozen ? 0 : gigaflops("train"),
      ...bySeeds(
        books.map((book) => {
          const ppl = sides
            .filter((side) => side.run["text"] === book)
            .map(({ run }) => Number(run[frozen ? "base_ppl" : "lora_ppl"]));
          return frozen ? ppl.slice(0, 1) : ppl; // the same with every seed
        }),
      ),
    };
  });
}

/** What perplexities of books are, over their seeds. */
const bySeeds = (ppl: readonly (readonly number[])[]): Pick<Point, "ppl" | "seeds" | "spread"> => ({
  ppl: ppl.map(mean),
  seeds: Math.min(...ppl.map(({ length }) => length)),
  spread: Math.max(...ppl.map((some) => 100 * (Math.max(...some) / Math.min(...some) - 1))),
});

const mean = (ppl: readonly number[]): number =>
  Math.exp(ppl.reduce((sum, x) => sum + Math.log(x), 0) / ppl.length);
const costOf = ({ reading, update }: Point): number => reading + update;

/** Those that nothing cheaper is as good as. */
const onFront = (point: Point, points: readonly Point[]): boolean =>
  !points.some((other) => costOf(other) < costOf(point) && mean(other.ppl) <= mean(point.ppl));

export function front(record: Record_): string {
  const points = pointsOf(record).sort((a, b) => costOf(a) - costOf(b));
  return columns(
    points.map((point) => ({ ...point })),
    [
      ["setting", "setting"],
      ["GFLOP a token", (row) => costOf(row as unknown as Point)],
      ["of it updates", "update"],
      ...booksOf(record).map(
        (book, i) => [book.replace(".txt", ""), (row: Row) => Number((row["ppl"] as number[])[i])] as const,
      ),
      ["mean", (row) => mean(row["ppl"] as number[])],
      ["seeds", "seeds"],
      ["their spread, %", (row) => (Number(row["seeds"]) > 1 ? Number(row["spread"]) : "")],
      ["on the front", (row) => (onFront(row as unknown as Point, points) ? "yes" : "")],
    ],
  );
}

export function frontPlot(): string | null {
  const record = newest("front");
  if (!record) return null;
  const points = pointsOf(record);
  const of = (which: (point: Point) => boolean): (readonly [number, number])[] =>
    points.filter(which).map((point) => [costOf(point), mean(point.ppl)]);
  const named = (name: string) => (point: Point) => !point.frozen && point.setting.startsWith(name);
  return plot("perplexity against what a token costs, updates included", {
    ...{ x: "GFLOP a token", y: "perplexity", scattered: true },
    series: [
      { name: "frozen", colour: colours.base, points: of(({ frozen }) => frozen) },
      { name: "tuned", colour: colours.lora, points: of(named("tuned")) },
      { name: "paper", colour: colours.other, points: of(named("paper")) },
      { name: "dynamic evaluation", colour: colours.third, points: of(named("dynamic")) },
    ],
  });
}
