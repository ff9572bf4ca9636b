/** The cells of a table, what each came to, and the table. */
import type { ModelFiles } from "../model/model_files.ts";
import type { Recipe } from "../templora/config.ts";
import type { Split, Totals } from "../templora/records.ts";
import type { Memory, Windows } from "../templora/session_options.ts";
import { change, figure, learnerName, percent, table } from "./format.ts";
import { memoryRecord } from "./session.ts";

export interface Cell {
  /** What tells it from the others, by the name of its column: in how the texts are read, and in how the adapter learns. */
  readonly reading: Readonly<Record<string, string>>;
  readonly learning: Readonly<Record<string, string>>;
  /** What a JSON line says of it beside its windows and recipe. */
  readonly facts: Readonly<Record<string, unknown>>;
  readonly modelFiles: ModelFiles;
  readonly windows: Windows;
  readonly memory: Memory;
  /** Null: the frozen model. */
  readonly recipe: Recipe | null;
}

/** What a cell came to, over all texts. */
export interface CellResult {
  readonly cell: number;
  readonly templora: boolean;
  readonly tokens: number;
  /** Numbers ceased to be finite in one of the texts, so that there are no perplexities. */
  readonly failed: boolean;
  readonly ppl: number | null;
  /** The paper's: the token-weighted mean of the chunks' perplexities. */
  readonly mean_chunk_ppl: number | null;
  /** How many updates a guard has undone; only where there is one. */
  readonly undone_updates?: number;
  /** Scoring, with a guard also by the frozen model, and the optimiser steps. */
  readonly flops: Cost;
  readonly bytes: Cost;
  readonly seconds: Cost;
}

interface Cost {
  readonly inference: number;
  readonly update: number;
}

/** What the frozen model sees of a cell. */
export const readingOf = ({ windows, memory, modelFiles: { config } }: Cell): string =>
  JSON.stringify([windows.chunk, windows.window, windows.reuseCache, memory, config]);

export function resultOf(cell: number, cells: readonly Cell[], totals: Totals, failed: boolean): CellResult {
  const { perplexities: p } = totals;
  const templora = cells[cell]?.recipe !== null;
  const cost = ({ base, score, train }: Split): Cost => ({
    inference: templora ? base + score : base,
    update: train,
  });
  return {
    ...{ cell, templora, tokens: p.tokens, failed },
    ppl: failed ? null : templora ? p.lora_ppl : p.base_ppl,
    mean_chunk_ppl: failed ? null : templora ? p.lora_mean_chunk_ppl : p.base_mean_chunk_ppl,
    ...(p.undone_updates !== undefined && { undone_updates: p.undone_updates }),
    ...{ flops: cost(p.flops), bytes: cost(p.bytes), seconds: cost(p.seconds) },
  };
}

export function factsOf(cell: Cell | undefined): object {
  if (!cell) return {};
  const { chunk, window, trainWindow, reuseCache } = cell.windows;
  return {
    ...cell.facts,
    window,
    ...(cell.recipe && { train_window: trainWindow }),
    chunk,
    ...(reuseCache > 0 && { reuse_cache: reuseCache }),
    ...memoryRecord(cell.memory),
    recipe: cell.recipe,
  };
}

export const inWords = (index: number, cells: readonly Cell[]): string => {
  const { reading = {}, learning = {}, recipe = null } = cells[index] ?? {};
  const given = Object.entries({ ...reading, ...learning }).map(([name, value]) => `${name} ${value}`);
  return `cell ${index + 1} of ${cells.length} (${[...given, recipe ? learnerName(recipe.adapt) : "base"].join(", ")})`;
};

/** The cell of the lowest perplexity among those that cost no more than `budget` GFLOP a token; null where there is none. */
export function bestOf(results: readonly CellResult[], budget = Infinity): number | null {
  const affordable = results.filter(
    ({ ppl, flops, tokens }) => ppl !== null && (flops.inference + flops.update) / tokens <= budget * 1e9,
  );
  affordable.sort((a, b) => (a.ppl ?? 0) - (b.ppl ?? 0));
  return affordable[0]?.cell ?? null;
}

/** One row a cell: perplexity, its change from the frozen model read the same way, and what a token costs. */
export function cellTable(
  cells: readonly Cell[],
  results: readonly CellResult[],
  best: number | null,
): string {
  const dials = [
    ...new Set(cells.flatMap(({ reading, learning }) => Object.keys({ ...reading, ...learning }))),
  ];
  const rows = results.map((result) => {
    const { cell, ppl, mean_chunk_ppl, flops, seconds, tokens } = result;
    const own = cells[cell];
    const frozen = (other: Cell | undefined): boolean =>
      other?.recipe === null && own !== undefined && readingOf(other) === readingOf(own);
    const base = results.find((other) => frozen(cells[other.cell]));
    const each = (amount: number, unit: number): string => figure(amount / tokens / unit);
    return [
      result.templora ? learnerName(own?.recipe?.adapt) : "base",
      ...dials.map((dial) => own?.reading[dial] ?? own?.learning[dial] ?? "-"),
      ...[
        figure(ppl),
        result.templora ? percent(change(base?.ppl ?? null, ppl)) : "",
        figure(mean_chunk_ppl),
      ],
      ...[each(flops.inference, 1e9), each(flops.update, 1e9)],
      ...[each(seconds.inference, 1e-3), each(seconds.update, 1e-3)],
      result.failed ? "not finite" : cell === best ? "best" : "",
    ];
  });
  const costs = ["GFLOP", "update GFLOP", "ms", "update ms"];
  const head = ["", ...dials, "ppl", "change", "mean chunk ppl", ...costs, ""];
  return `${table([head, ...rows])}GFLOP and ms are those of a token; its part in the updates stands beside them and is not in them.\n`;
}
