/**
 * WGSL files. A source may begin with lines `//!use ../shared/x.wgsl`: those files are put before it, once each.
 * Line numbers of compile errors are told in the terms of the files.
 */
import { DeviceError } from "../../errors.ts";

/** Gives the text of a file, at once: `Device.run` does not wait. */
export type SourceReader = (url: URL) => string;

/** Reads from disk, under Node. */
export async function nodeSources(): Promise<SourceReader> {
  const { readFileSync } = await import("../host/files.ts");
  return (url) => readFileSync(url, "utf8");
}

/** Fetches the given files, and what they use, beforehand: in browsers. */
export async function fetchedSources(urls: readonly URL[]): Promise<SourceReader> {
  const texts = new Map<string, string>();
  const load = async (url: URL): Promise<void> => {
    if (texts.has(url.href)) return;
    texts.set(url.href, "");
    const response = await fetch(url);
    if (!response.ok) throw new DeviceError(`${url.href}: ${response.status} ${response.statusText}`);
    const text = await response.text();
    texts.set(url.href, text);
    await Promise.all(usesOf(text).map((use) => load(new URL(use, url))));
  };
  await Promise.all(urls.map(load));
  return (url) => {
    const text = texts.get(url.href);
    if (text === undefined) throw new DeviceError(`${url.href} was not fetched when the device was opened`);
    return text;
  };
}

function usesOf(text: string): string[] {
  return [...text.matchAll(/^\/\/!use[ \t]+(\S+)/gm)].map((match) => match[1]);
}

interface Part {
  readonly url: URL;
  readonly text: string;
}

/** A shader's whole text, and where each of its lines comes from. */
export class ShaderText {
  readonly text: string;
  readonly #parts: readonly Part[];
  /** Lines of `enable …` directives, which must come before everything else. */
  readonly #head: number;

  /** `before`: files that the source itself does not name (the weight's format). */
  constructor(read: SourceReader, source: URL, before: readonly URL[]) {
    const parts: Part[] = [];
    const seen = new Set<string>();
    const enables = new Set<string>();
    const add = (url: URL): void => {
      if (seen.has(url.href)) return;
      seen.add(url.href);
      const text = read(url);
      for (const use of usesOf(text)) add(new URL(use, url));
      const hoisted = text.replace(/^[ \t]*(?:enable|requires)\b[^;]*;/gm, (line) => {
        enables.add(line.trim());
        return "";
      });
      parts.push({ url, text: hoisted });
    };
    before.forEach(add);
    add(source);
    this.#parts = parts;
    this.#head = enables.size;
    this.text = [...enables, ...parts.map((part) => part.text)].join("\n");
  }

  /** "kernels/matmul/tile.wgsl:12" of a line of the whole text, counted from 1. */
  locate(line: number): string {
    let rest = line - this.#head;
    for (const { url, text } of this.#parts) {
      const lines = text.split("\n").length;
      if (rest <= lines) return `${shortName(url)}:${rest}`;
      rest -= lines;
    }
    return `line ${line}`;
  }
}

/** The last three parts of a path: kernels/<folder>/<file>. */
export function shortName(url: URL): string {
  return url.pathname.split("/").slice(-3).join("/");
}
