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
  const { layers, context_grad, lr } = run["recipe"] as Row;
  const recipe = frozen ? "frozen" : context_grad === true ? `paper, lr ${String(lr)}` : "tuned";
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
  /** By book, in the order of `books`. */
  readonly ppl: readonly number[];
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
      ppl: books.map((book) => {
        const run = sides.find((side) => side.run["text"] === book)?.run;
        return Number(run?.[frozen ? "base_ppl" : "lora_ppl"]);
      }),
    };
  });
}

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
  const paper = ({ setting }: Point): boolean => setting.startsWith("paper");
  return plot("perplexity against what a token costs, updates included", {
    ...{ x: "GFLOP a token", y: "perplexity", scattered: true },
    series: [
      { name: "frozen", colour: colours.base, points: of(({ frozen }) => frozen) },
      { name: "tuned", colour: colours.lora, points: of((point) => !point.frozen && !paper(point)) },
      { name: "paper", colour: colours.other, points: of(paper) },
    ],
  });
}
