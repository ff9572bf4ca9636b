/** A report: Markdown with figures in files of their own, and the same as one HTML page that needs no other file. */
import { marked } from "marked";
import { type PlotOptions, escaped, plot } from "./plot.ts";

interface Figure {
  readonly file: string;
  readonly svg: string;
}

export class Report {
  readonly #title: string;
  readonly #caption: string;
  readonly #parts: string[] = [];
  readonly #figures: Figure[] = [];

  /** `caption`: what stands under every figure: command and record. */
  constructor(title: string, caption: string) {
    this.#title = title;
    this.#caption = caption;
    this.#parts.push(`# ${plain(title)}\n`);
  }

  heading(text: string): void {
    this.#parts.push(`## ${plain(text)}\n`);
  }

  /** A piece of Markdown. */
  add(markdown: string): void {
    this.#parts.push(`${markdown}\n`);
  }

  figure(name: string, label: string, options: PlotOptions): void {
    const file = `${name}.svg`;
    this.#figures.push({ file, svg: plot(label, options) });
    this.#parts.push(`![${plain(label)}](${file})\n`, `*${plain(label)}.* ${this.#caption}\n`);
  }

  /** The files of the report, by name. */
  files(): Map<string, string> {
    const markdown = this.#parts.join("\n");
    const figures = new Map(this.#figures.map(({ file, svg }) => [file, svg]));
    return new Map([
      ["report.md", markdown],
      ["report.html", page(this.#title, markdown, figures)],
      ...figures,
    ]);
  }
}

function page(title: string, markdown: string, figures: ReadonlyMap<string, string>): string {
  const body = marked.parse(markdown, { async: false, gfm: true });
  const inlined = body.replaceAll(
    /<img src="([^"]*)"[^>]*>/g,
    (image, file: string) => figures.get(file) ?? image,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
table { display: block; overflow-x: auto; border-collapse: collapse; overflow-wrap: normal; }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #8886; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
pre { overflow-x: auto; }
svg { width: 100%; max-width: 40rem; height: auto; }
</style>
</head>
<body>
${inlined}</body>
</html>
`;
}

export function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(plain).join(" | ")} |\n`;
  const rule = `|${head.map((_, i) => (i === 0 ? " --- |" : " ---: |")).join("")}\n`;
  return line(head) + rule + rows.map(line).join("");
}

export const bullets = (items: readonly string[]): string =>
  items.map((item) => `- ${plain(item)}\n`).join("");

/** A value, or several. */
export const inWords = (value: unknown): string => (Array.isArray(value) ? value.join(" ") : String(value));

/** A text that Markdown and HTML leave as it is. */
export const plain = (text: string): string =>
  text.replaceAll(/[\p{Cc}\s]+/gu, " ").replaceAll(/[\\`*_{}[\]<>#|~&]/g, "\\$&");
