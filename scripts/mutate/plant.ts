/**
 * A copy of the checkout with every mutant of engine/, model/ and templora/ in it, each off until
 * `__STRYKER_ACTIVE_MUTANT__` names it. Stryker's instrumenter makes them.
 */
import { Instrumenter } from "@stryker-mutator/instrumenter";
import { createHash } from "node:crypto";
import { cpSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

export const hash = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 16);

export interface Mutant {
  /** What the environment variable names. */
  readonly number: number;
  /** The same mutant keeps it when other lines of its file change. */
  readonly id: string;
  readonly file: string;
  /** Hash of the file's text. */
  readonly source: string;
  readonly line: number;
  /** The source text of the line on which it begins, and what changes. */
  readonly text: string;
  readonly before: string;
  readonly after: string;
}

const mutated = ["engine", "model", "templora"];
/** What the tests read. */
const copied = [...mutated, "kernels", "cli", "bench", "scripts", "test", "package.json", "tsconfig.json"];

/** The files that have mutants. */
export const mutatedFiles = (): string[] =>
  mutated
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((name) => /(?<!\.d)\.ts$/.test(name))
        .map((name) => `${folder}/${name.replaceAll("\\", "/")}`),
    )
    .sort();

interface Node {
  readonly type: string;
  readonly name?: string;
  readonly callee?: Node;
  readonly key?: Node;
}

/** What errors say is for people: tests look for some of their words, not for all. The cases of an op's gradient test are a test's. */
const ignorer = {
  shouldIgnore({ node: { type, callee, key } }: { node: Node }) {
    if (type === "NewExpression" && callee?.name?.endsWith("Error")) return "the words of an error";
    return type === "ObjectProperty" && key?.name === "checks" ? "a test's cases" : undefined;
  },
};

/** Its tests need an adapter. */
export const WEBGPU = "engine/backends/webgpu";
export const isUnder = (file: string, path: string): boolean => file === path || file.startsWith(`${path}/`);

const short = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > 90 ? `${line.slice(0, 60)} … ${line.slice(-25)}` : line;
};

export const place = ({ file, line, before, after }: Mutant): string =>
  `${file}:${line}  ${short(before)}  →  ${short(after)}`;

/** Fills the empty folder `copy`; the mutants that it holds then, in the order of the files. */
export async function plant(copy: string): Promise<Mutant[]> {
  const filter = (from: string): boolean => relative(root, from) !== join("bench", "results");
  for (const name of copied) cpSync(join(root, name), join(copy, name), { recursive: true, filter });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));

  const silent = () => undefined;
  const logger = { isDebugEnabled: () => false, debug: silent, info: silent, warn: console.warn };
  const instrumenter = new Instrumenter(logger as never);
  const sources = mutatedFiles().map((name) => ({
    name,
    content: readFileSync(join(root, name), "utf8"),
    mutate: true as const,
  }));
  const options = { plugins: null, excludedMutations: [], ignorers: [ignorer as never] };
  const { files: results, mutants } = await instrumenter.instrument(sources, options);
  for (const { name, content } of results) writeFileSync(join(copy, name), content);

  const lines = new Map(sources.map(({ name, content }) => [name, content.split("\n")]));
  const seen = new Map<string, number>();
  return mutants.flatMap(({ id, fileName: file, location, replacement, mutatorName, status }) => {
    if (status === "Ignored") return [];
    const text = lines.get(file) ?? [];
    const { start, end } = location;
    const before = text
      .slice(start.line, end.line + 1)
      .map((line, i, all) =>
        line.slice(i === 0 ? start.column : 0, i === all.length - 1 ? end.column : undefined),
      )
      .join("\n");
    const what = [file, mutatorName, text[start.line]?.trim(), before, replacement].join("\0");
    const nth = seen.get(what) ?? 0;
    seen.set(what, nth + 1);
    return {
      number: Number(id),
      id: hash(`${what}\0${nth}`),
      file,
      source: hash(text.join("\n")),
      line: start.line + 1,
      text: text[start.line]?.trim() ?? "",
      before,
      after: replacement,
    };
  });
}
