/** The report of texts that were read (`ppl`): each text's tables and plots, and all texts together. */
import type { Bucket } from "../../templora/buckets.ts";
import type { ChunkRecord, Perplexities } from "../../templora/records.ts";
import { change, count, figure, percent } from "../format.ts";
import { type Report, bullets, tableOf } from "./markdown.ts";
import { type PlotOptions, type Series, colours } from "./plot.ts";

export type ChunkLine = ChunkRecord & { readonly type: "chunk"; readonly text: string };
export type SummaryLine = Perplexities & {
  readonly type: "summary";
  readonly text: string | null;
  readonly by_position?: readonly Bucket[];
  readonly by_length?: readonly Bucket[];
};

/** So many values at most make a line; more are averaged, and stand behind it pale. */
const SMOOTH = 32;

export function readingReport(
  report: Report,
  chunks: readonly ChunkLine[],
  summaries: readonly SummaryLine[],
): void {
  const texts = [...new Set(chunks.map(({ text }) => text))];
  const all = summaries.find(({ text }) => text === null);
  if (all) {
    report.heading("All texts");
    report.add(perplexities(summaries));
    buckets(report, all);
    report.figure(
      "gains",
      "gain of every text against position",
      gainPlot(texts.map((text) => chunksOf(chunks, text))),
    );
  }
  for (const [index, text] of texts.entries()) {
    const own = chunksOf(chunks, text);
    const summary = summaries.find((one) => one.text === text);
    report.heading(text);
    if (summary) {
      report.add(perplexities([summary]));
      report.add(bullets(costs(summary)));
      buckets(report, summary);
    }
    const name = (what: string): string => (texts.length > 1 ? `${index + 1}-${what}` : what);
    const figures: readonly (readonly [what: string, label: string, plot: PlotOptions])[] = [
      ["perplexity", "perplexity against position", perplexityPlot(own)],
      ["gain", "gain against position", gainPlot([own])],
      ["loss", "training loss against position", lossPlot(own)],
      ["rate", "learning rate against position", ratePlot(own)],
      ["cost", "seconds a chunk against position", costPlot(own)],
    ];
    for (const [what, label, plot] of figures)
      if (plot.series.some(({ points }) => points.length > 0))
        report.figure(name(what), `${label}, ${text}`, plot);
  }
}

const chunksOf = (chunks: readonly ChunkLine[], text: string): ChunkLine[] =>
  chunks.filter((chunk) => chunk.text === text);

const both = { base: "base", lora: "adapted" } as const;
type Model = keyof typeof both;

function perplexities(summaries: readonly SummaryLine[]): string {
  const rows = summaries.map((s) => [
    s.text ?? "all texts",
    ...[count(s.tokens), figure(s.base_ppl), figure(s.lora_ppl), percent(change(s.base_ppl, s.lora_ppl))],
    ...[figure(s.base_mean_chunk_ppl), figure(s.lora_mean_chunk_ppl)],
  ]);
  return tableOf(
    ["", "tokens", "base ppl", "adapted ppl", "change", "base, mean of chunks", "adapted, mean of chunks"],
    rows,
  );
}

function buckets(report: Report, { by_position = [], by_length = [] }: SummaryLine): void {
  for (const [name, found] of [
    ["position", by_position],
    ["length", by_length],
  ] as const)
    // prettier-ignore
    if (found.length > 0)
      report.add(
        tableOf(
          [`${name}, tokens`, "tokens", "base ppl", "adapted ppl", "change"],
          found.map(({ from, to, tokens, base_ppl, lora_ppl }) => [
            `${count(from)} to ${to === null ? "the end" : count(to)}`,
            ...[count(tokens), figure(base_ppl), figure(lora_ppl), percent(change(base_ppl, lora_ppl))],
          ]),
        ),
      );
}

function costs({ tokens, flops, bytes, seconds }: SummaryLine): string[] {
  const of = (
    name: string,
    { base, score, train }: Perplexities["flops"],
    unit: number,
    suffix: string,
  ): string =>
    `${name} a token: base ${figure(base / tokens / unit)}, adapted ${figure(score / tokens / unit)}, update ${figure(train / tokens / unit)} ${suffix}`;
  return [
    of("arithmetic", flops, 1e9, "GFLOP"),
    of("memory traffic", bytes, 1e6, "MB"),
    of("time", seconds, 1e-3, "ms"),
  ];
}

const nllOf = (chunk: ChunkRecord, model: Model): number | null =>
  model === "base" ? chunk.base_nll : chunk.lora_nll;

/** Perplexities of `width` chunks at a time, at the place of their middle. */
function perplexityPoints(
  chunks: readonly ChunkRecord[],
  model: Model,
  width: number,
): [x: number, y: number][] {
  const points: [number, number][] = [];
  for (let i = 0; i < chunks.length; i += width) {
    const part = chunks.slice(i, i + width).filter(({ tokens }) => tokens > 0);
    const nlls = part.map((chunk) => nllOf(chunk, model)).filter((nll) => nll !== null);
    const tokens = part.reduce((sum, chunk) => sum + chunk.tokens, 0);
    const middle = part[Math.floor(part.length / 2)];
    if (!middle || nlls.length < part.length) continue;
    points.push([middle.start, Math.exp(nlls.reduce((sum, nll) => sum + nll, 0) / tokens)]);
  }
  return points;
}

function perplexityPlot(chunks: readonly ChunkRecord[]): PlotOptions {
  const series = (["base", "lora"] as const).flatMap((model) =>
    smoothed(both[model], colours[model], (width) => perplexityPoints(chunks, model, width), chunks.length),
  );
  return { x: "tokens read", y: "perplexity", series };
}

/** `name`: of the line, where there is one text. */
export function gainPlot(texts: readonly (readonly ChunkRecord[])[], name: string = both.lora): PlotOptions {
  const gains = (chunks: readonly ChunkRecord[], width: number): [number, number][] => {
    const [base, lora] = [perplexityPoints(chunks, "base", width), perplexityPoints(chunks, "lora", width)];
    return base.flatMap(([x, ppl], i): [number, number][] => {
      const other = lora[i];
      return other ? [[x, 100 * (1 - other[1] / ppl)]] : [];
    });
  };
  const palette = [colours.lora, colours.base, colours.other];
  const series = texts.flatMap((chunks, i) => {
    const colour = palette[i % palette.length] ?? colours.lora;
    const lines = smoothed(
      texts.length > 1 ? `text ${i + 1}` : name,
      colour,
      (width) => gains(chunks, width),
      chunks.length,
    );
    return texts.length > 1
      ? lines.filter(({ faint }) => faint !== true).map((line) => ({ ...line, faint: texts.length > 3 }))
      : lines;
  });
  return { x: "tokens read", y: "gain, %", series, zero: true };
}

/** The line, and where it averages, the single values behind it. */
function smoothed(
  name: string,
  colour: string,
  points: (width: number) => [number, number][],
  chunks: number,
): Series[] {
  const width = Math.ceil(chunks / SMOOTH);
  const line = { name, colour, points: points(width) };
  return width > 1 ? [{ ...line, points: points(1), faint: true }, line] : [line];
}

function lossPlot(chunks: readonly ChunkRecord[]): PlotOptions {
  const at = (place: number): [number, number][] =>
    chunks.flatMap(({ start, train_loss }): [number, number][] => {
      const loss = train_loss.at(place);
      return loss === undefined ? [] : [[start, loss]];
    });
  const several = chunks.some(({ train_loss }) => train_loss.length > 1);
  const last = { name: "before the last step", colour: colours.lora, points: at(-1) };
  const first = { name: "before the first step", colour: colours.base, points: at(0) };
  return { x: "tokens read", y: "loss, nats a token", series: several ? [first, last] : [first] };
}

function ratePlot(chunks: readonly ChunkRecord[]): PlotOptions {
  const points = chunks
    .filter(({ train_loss }) => train_loss.length > 0)
    .map(({ start, lr }) => [start, lr] as const);
  return {
    x: "tokens read",
    y: "learning rate",
    series: [{ name: "learning rate", colour: colours.lora, points }],
  };
}

function costPlot(chunks: readonly ChunkRecord[]): PlotOptions {
  const parts = [["base", "base", colours.base], ["score", "adapted", colours.lora], ["train", "update", colours.other]] as const; // prettier-ignore
  const series = parts
    .map(([what, name, colour]) => ({
      name,
      colour,
      points: chunks.map(({ start, seconds }) => [start, seconds[what]] as const),
    }))
    .filter(({ points }) => points.some(([, seconds]) => seconds > 0));
  return { x: "tokens read", y: "seconds a chunk", series };
}
