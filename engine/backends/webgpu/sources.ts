/**
 * A shader's text, out of the WGSL files that the build embeds. A file may begin with lines `//!use shared/x.wgsl`: those
 * files are put before it, once each. Line numbers of compile errors are given as lines of the files.
 */
import { at } from "../../../kernels/base/at.ts";
import type { WeightDType } from "../../../kernels/base/dtype.ts";
import { wgsl } from "../../../kernels/build/wgsl.ts";
import { DeviceError } from "../../errors.ts";

interface Part {
  readonly path: string;
  readonly text: string;
}

/** A file that declares the binding `w` reads weights; one that binds f32 weights under another name does not. */
const READS_WEIGHT = /\bw\s*:\s*array<u32>/;

/** A shader's whole text, and where each of its lines comes from. */
export class ShaderText {
  readonly text: string;
  readonly #parts: readonly Part[];
  /** Lines of `enable …` directives, which must come before everything else. */
  readonly #head: number;

  /** `path` below kernels/; if the file reads weights, it does so in the format `weight`, f32 if left out. */
  constructor(path: string, weight: WeightDType = "f32") {
    const parts: Part[] = [];
    const seen = new Set<string>();
    const enables = new Set<string>();
    const add = (path: string): void => {
      if (seen.has(path)) return;
      seen.add(path);
      const source = read(path);
      for (const match of source.matchAll(/^\/\/!use[ \t]+(\S+)/gm)) add(at(match, 1));
      const text = source.replace(/^[ \t]*(?:enable|requires)\b[^;]*;/gm, (line) => {
        enables.add(line.trim());
        return "";
      });
      parts.push({ path, text });
    };
    if (READS_WEIGHT.test(read(path))) add(`formats/${weight}/${weight}.wgsl`);
    add(path);
    this.#parts = parts;
    this.#head = enables.size;
    this.text = [...enables, ...this.#parts.map((part) => part.text)].join("\n");
  }

  /** The file and its line, "kernels/matmul/tile.wgsl:12", of a line of the whole text, counted from 1. */
  locate(line: number): string {
    let rest = line - this.#head;
    for (const { path, text } of this.#parts) {
      const lines = text.split("\n").length;
      if (rest <= lines) return `kernels/${path}:${rest}`;
      rest -= lines;
    }
    return `line ${line}`;
  }

  /** The files it is made of, in order. */
  get files(): readonly string[] {
    return this.#parts.map((part) => part.path);
  }
}

function read(path: string): string {
  const text = wgsl[path];
  if (text === undefined) throw new DeviceError(`kernels/${path}: no such shader in this build`);
  return text;
}
