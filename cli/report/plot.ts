/** Plots as SVG text, by Observable Plot: wide enough for a phone, in the colours of the page that they stand on. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";

export interface Series {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Thin and pale: single values, behind their mean. */
  readonly faint?: boolean;
}

export interface PlotOptions {
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Points, joined by no line. */
  readonly scattered?: boolean;
  /** Of the axes: numbers by their size, by their logarithm, or as names. */
  readonly xScale?: "linear" | "log" | "point";
  /** A horizontal line at 0. */
  readonly zero?: boolean;
}

/** Both can be told apart, and read, on white and on black. */
export const colours = { base: "#4c8bd6", lora: "#e0702c", other: "#3f9f6b", third: "#9a6fb8" } as const;

const [WIDTH, HEIGHT, FONT] = [440, 290, 13];
/** An SVG file that is shown as an image follows the reader's choice of light or dark itself. */
const STYLE = "svg{color:#24292f}@media(prefers-color-scheme:dark){svg{color:#d0d7de}}";

/** An SVG document. `label` says in words what it shows. */
export function plot(
  label: string,
  { x, y, series, scattered = false, xScale = "linear", zero = false }: PlotOptions,
): string {
  const { document } = parseHTML("<html><body></body></html>") as unknown as { readonly document: never };
  const named = series.filter(({ faint }) => faint !== true);
  const widthOf = ({ name }: Series): number => (name.length + 4) * 0.56 * FONT;
  const legend: unknown[] = named.map((one, i) =>
    Plot.text([`● ${one.name}`], {
      ...{ frameAnchor: "top-left", textAnchor: "start", fill: one.colour, fontWeight: "bold" },
      ...{ dx: named.slice(0, i).reduce((sum, other) => sum + widthOf(other), 0), dy: -20 },
    }),
  );
  const marks = series.flatMap(({ points, colour, faint = false }) => {
    const at = { x: "0", y: "1", stroke: colour, strokeOpacity: faint ? 0.3 : 1 };
    const dots = scattered || points.length < 24;
    return [
      ...(scattered ? [] : [Plot.line(points, { ...at, strokeWidth: faint ? 1 : 2 })]),
      ...(dots ? [Plot.dot(points, { ...at, fill: colour, fillOpacity: faint ? 0.3 : 1, r: 3 })] : []),
    ];
  });
  const drawn: unknown = Plot.plot({
    document, // what Plot needs of one, linkedom has
    ...{ width: WIDTH, height: HEIGHT, marginTop: 40, marginLeft: 52, marginBottom: 42 },
    style: { fontSize: `${FONT}px` },
    x: { label: x, type: xScale, ticks: 5, ...(xScale === "linear" && { tickFormat: "~s" }) },
    y: { label: y, grid: true, ticks: 6, tickFormat: short },
    marks: [...(zero ? [Plot.ruleY([0])] : []), ...marks, ...(legend as Plot.Markish[])],
  });
  const { outerHTML } = drawn as { readonly outerHTML: string };
  const open = `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="${escaped(label)}" `;
  return outerHTML.replace("<svg ", open).replace(">", `><style>${STYLE}</style>`);
}

/** 0.0005 as 5e-4; the digits that ticks differ in. */
const short = (value: number): string =>
  Math.abs(value) < 1e-3 && value !== 0 ? value.toExponential() : String(Number(value.toPrecision(4)));

/** In an attribute of HTML or SVG, or between its tags. */
export const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
