/** Terms that are to be translated in a given way: which occur in a text, how a prompt names them, and how many came out so. */
import { BadInputError } from "../engine/errors.ts";
import { quote } from "../model/untrusted.ts";

export interface Term {
  readonly source: string;
  readonly target: string;
}

/** How often a term was in a paragraph, and how many of their translations have it as given. */
export interface TermCount extends Term {
  readonly occurred: number;
  readonly rendered: number;
}

export class Glossary {
  readonly terms: readonly Term[];

  constructor(terms: readonly Term[]) {
    this.terms = terms;
  }

  /** A file of lines `source<TAB>target`; empty ones and those that begin with # are left out. `file`: for errors. */
  static parse(text: string, file: string): Glossary {
    const lines = new Map<string, number>();
    const terms = text.split(/\r\n|[\n\r]/).flatMap((line, i): Term[] => {
      if (line.trim() === "" || line.startsWith("#")) return [];
      const where = `${file}, line ${i + 1}`;
      const [source = "", target = "", ...more] = line.split("\t").map((part) => part.trim());
      if (source === "" || target === "" || more.length > 0)
        throw new BadInputError(`${where}: expected a term, a tab and its translation, got ${quote(line)}`);
      const before = lines.get(folded(source));
      if (before !== undefined)
        throw new BadInputError(
          `${where}: ${quote(source)} is there already, in line ${before}; keep one of them`,
        );
      lines.set(folded(source), i + 1);
      return [{ source, target }];
    });
    if (terms.length === 0) throw new BadInputError(`${file}: no terms in it`);
    return new Glossary(terms);
  }

  /** The terms that occur in one of the texts. */
  termsIn(texts: readonly string[]): Term[] {
    const all = texts.map(folded);
    return this.terms.filter(({ source }) => all.some((text) => occurs(source, text)));
  }

  /** What a prompt says about the terms of its source lines: one line, or none. */
  linesFor(sources: readonly string[]): string[] {
    const terms = this.termsIn(sources).map(({ source, target }) => `${source} = ${target}`);
    return terms.length > 0 ? [`Glossary: ${terms.join("; ")}`] : [];
  }

  /** Of all terms that occur, in how many texts, and in how many translations of those they are as given. */
  count(translated: readonly { readonly source: string; readonly translation: string }[]): TermCount[] {
    const texts = translated.map(({ source, translation }) => [folded(source), folded(translation)] as const);
    return this.terms
      .map((term) => {
        const having = texts.filter(([source]) => occurs(term.source, source));
        const rendered = having.filter(([, translation]) => occurs(term.target, translation));
        return { ...term, occurred: having.length, rendered: rendered.length };
      })
      .filter(({ occurred }) => occurred > 0);
  }
}

/** In one spelling of case and accents. */
const folded = (text: string): string => text.normalize("NFC").toLowerCase();

/** Scripts without spaces between words, where a term may begin anywhere. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const WORD = /[\p{L}\p{M}\p{N}]/u;

/** Whether a term is in a folded text, at the beginning of a word: its end may be inflected. */
function occurs(term: string, text: string): boolean {
  const wanted = folded(term);
  const [first = ""] = wanted;
  const inWord = (before: string): boolean =>
    [first, before].every((character) => WORD.test(character) && !UNSPACED.test(character));
  for (let i = text.indexOf(wanted); i >= 0; i = text.indexOf(wanted, i + 1))
    if (!inWord(text[i - 1] ?? "")) return true;
  return false;
}
