/** `templora translate TEXT`: translates a text paragraph by paragraph, with a glossary; the translation streams, and has the text's shape. */
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import { Turns } from "../engine/turns.ts";
import { Glossary } from "../templora/glossary.ts";
import { paragraphsOf, piecesOf } from "../templora/paragraphs.ts";
import { Totals } from "../templora/records.ts";
import {
  LONGER,
  type ParagraphRecord,
  TextMaterial,
  type TextPiece,
  divide,
} from "../templora/text_material.ts";
import type { UpdateRecord } from "../templora/translate.ts";
import { TranslationPrompt, languageName } from "../templora/translation_prompt.ts";
import { count, duration, rate } from "./format.ts";
import type { Io, ProgressState } from "./output.ts";
import { peakBytes, throwIfStopped } from "./session.ts";
import { fileText } from "./texts.ts";
import { TextStream } from "./status.ts";
import { type ChosenOptions, textTokens } from "./translate_options.ts";
import { type Outputs, type View, runTranslation, updated } from "./translation.ts";

export async function translateText(path: string, options: ChosenOptions, io: Io): Promise<void> {
  const { src, tgt, templora, trainOn = "self" } = options;
  if (trainOn === "gold")
    throw new BadInputError("--train-on gold: a text has no references to train on; give self or none");
  if (languageName(src) === undefined)
    throw new BadInputError(`--src ${src}: expected the code of a language, such as zh`);
  const turns = new Turns(() => throwIfStopped(io));
  const { paragraphs, gaps } = await turns.run(paragraphsOf(await readBook(path, io), options.paragraphs));
  if (paragraphs.length === 0) throw new BadInputError(`${path}: no words to translate in it`);
  const glossary =
    options.glossary === undefined
      ? null
      : Glossary.parse(await fileText(options.glossary, io), options.glossary);
  await runTranslation(path, options, io, async ({ tokenizer, config }, terminal) => {
    const prompt = new TranslationPrompt(
      tokenizer,
      options.instruction,
      { parseSpecial: options.special === true },
      glossary,
    );
    const tokens = textTokens(config.max_position_embeddings);
    const { maxNewTokens: newTokens = tokens, chunk = tokens, window = tokens } = options;
    const most = Math.max(1, Math.floor(newTokens / LONGER));
    const wanted = paragraphs.slice(0, options.maxParagraphs);
    const length = (text: string): number => prompt.line(text).length;
    const pieces: TextPiece[] = [];
    const inside: number[] = [];
    for (const [paragraph, text] of wanted.entries()) {
      const cut = await turns.run(piecesOf(text, src, length, most));
      if (cut.between !== "sentence") inside.push(paragraph + 1);
      for (const [part, source] of cut.pieces.entries()) pieces.push({ paragraph, part, source });
    }
    if (inside.length > 0)
      terminal.note(
        `a sentence of more than ${most} tokens is cut between words in paragraph ${inside.join(", ")}`,
      );
    const given = { newTokens, chunk, window };
    const divided = await turns.run(divide(prompt, pieces, given, config));
    const material = new TextMaterial(prompt, pieces, given, config, divided);
    return {
      ...{ material, prompt, texts: [pieces, gaps, glossary?.terms ?? [], given] },
      less: ["--window 0", () => new TextMaterial(prompt, pieces, { ...given, window: 0 }, config)],
      blocks: material.blocks.map((sources) => ({
        context: [],
        pairs: sources.map((source) => ({ source, target: "" })),
      })),
      work: { trainOn, baseline: !templora, maxNewTokens: newTokens },
      facts: { chunk, window, paragraphs: wanted.length, ...(glossary && { glossary: options.glossary }) },
      view: (outputs) => {
        const learns = templora && trainOn === "self";
        const { blocks } = material;
        return viewOf({
          ...outputs,
          path,
          options,
          glossary,
          pieces,
          blocks,
          gaps: gapsOf(pieces, gaps, tgt),
          learns,
        });
      },
    };
  });
}

/** A text; one that is a list of pairs is refused. */
async function readBook(path: string, io: Io): Promise<string> {
  const text = await fileText(path, io);
  if (!/^\s*\[\s*\{/.test(text)) return text;
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  throw new BadInputError(`${path}: a list in JSON; pairs are read from files whose name ends in .json`);
}

/** Languages that put no space between two sentences. */
const UNSPACED = /^(zh|yue|ja|th|lo|km|my|bo)\b/;

/** What stands before each piece, and behind the last one. */
function gapsOf(pieces: readonly TextPiece[], gaps: readonly string[], tgt: string): string[] {
  const between = UNSPACED.test(tgt) ? "" : " ";
  const before = pieces.map(({ paragraph, part }) => (part > 0 ? between : (gaps[paragraph] ?? "")));
  return [...before, gaps.at(-1) ?? ""];
}

interface Shown extends Outputs {
  readonly path: string;
  readonly options: ChosenOptions;
  readonly glossary: Glossary | null;
  readonly blocks: TextMaterial["blocks"];
  readonly pieces: readonly TextPiece[];
  readonly gaps: readonly string[];
  readonly learns: boolean;
}

function viewOf(run: Shown): View<ParagraphRecord> {
  const { path, options, blocks, pieces, gaps, learns, terminal, out, io } = run;
  // With JSON on stdout the text goes to --out only.
  const shown = options.json === "-" ? null : io.stdout;
  const stream = new TextStream(terminal, io);
  const write = (piece: string): void => {
    out?.write(piece);
    stream.show(piece, shown);
  };
  const paragraphs = (pieces.at(-1)?.paragraph ?? 0) + 1;
  terminal.note(
    `${options.src} → ${options.tgt}, paragraphs: ${count(paragraphs)}; ` +
      (learns ? `updates: ${count(blocks.length - 1)}` : "no updates"),
  );
  const characters = (of: readonly TextPiece[]): number => of.reduce((n, { source }) => n + source.length, 0);
  const all = characters(pieces);
  const began = performance.now();
  /** Pieces translated, their characters, and those that an earlier run has translated; tokens that this run has written. */
  let [index, done, earlier, tokens] = [0, 0, 0, 0];
  let training = false;
  let end = 0;
  const ends = new Set(learns ? blocks.slice(0, -1).map((sources) => (end += sources.length)) : []);
  const progress = (): ProgressState => {
    const seconds = (performance.now() - began) / 1000;
    const { paragraph = paragraphs - 1, part = 0 } = pieces[index] ?? {};
    const figures = [`paragraph ${paragraph + 1}/${paragraphs}${part > 0 ? `, part ${part + 1}` : ""}`];
    if (tokens > 0)
      figures.push(
        `${rate(tokens / seconds)} tokens/s`,
        `${duration((seconds * (all - done)) / (done - earlier))} left`,
      );
    if (training) figures.push("training");
    return { label: path, fraction: done / all, figures: figures.join(", ") };
  };
  write(gaps[0] ?? "");
  return {
    onText: write,
    tick: () => stream.draw(progress),
    show(record, live) {
      if (record.type === "update") {
        training = false;
        if (record.skipped_steps > 0) terminal.note(updated(record).trimEnd());
        return;
      }
      const { source, translation } = record;
      if (!live) write(translation);
      write(gaps[++index] ?? "");
      done += source.length;
      if (live) tokens += record.tokens;
      else earlier = done;
      training = ends.has(index);
    },
    end: () => stream.end(shown),
    report: (found, device) => report(found, device, run),
  };
}

/** The closing line of JSON, and what a reader of the translation should know. */
function report(found: readonly (ParagraphRecord | UpdateRecord)[], device: Device, run: Shown): void {
  const { path, glossary, terminal, records } = run;
  const totals = new Totals();
  for (const record of found) totals.spend(record);
  const { flops, bytes, seconds } = totals.perplexities;
  const pieces = found.filter((record) => record.type === "paragraph");
  const paragraphs = (pieces.at(-1)?.index ?? -1) + 1;
  const tokens = pieces.reduce((sum, piece) => sum + piece.tokens, 0);
  const terms = glossary?.count(pieces);
  records.write({
    ...{ type: "summary", text: path, paragraphs, tokens, ...(terms && { glossary: terms }) },
    ...{ flops, bytes, seconds, peak_bytes: peakBytes(device) },
  });
  const written = seconds.base + seconds.score;
  terminal.note(
    `${count(paragraphs)} paragraphs, ${count(tokens)} tokens in ${duration(written + seconds.train)} ` +
      `(writing ${duration(written)}, ${rate(tokens / written)} tokens/s; training ${duration(seconds.train)})`,
  );
  const where = (what: string, of: (piece: ParagraphRecord) => boolean): void => {
    const list = [...new Set(pieces.filter(of).map(({ index }) => index + 1))];
    if (list.length > 0) terminal.note(`${what}: paragraph ${list.join(", ")}`);
  };
  where("cut at --max-new-tokens", ({ cut }) => cut);
  where("the model wrote nothing", ({ translation }) => translation === "");
  if (!terms) return;
  const sum = (key: "occurred" | "rendered"): number => terms.reduce((n, term) => n + term[key], 0);
  const missed = terms
    .filter(({ occurred, rendered }) => rendered < occurred)
    .map(({ source, target, occurred, rendered }) => `${source} = ${target} (${rendered} of ${occurred})`);
  terminal.note(
    `glossary: ${sum("rendered")} of ${sum("occurred")} as given${missed.length > 0 ? `; not ${missed.join(", ")}` : ""}`,
  );
}
