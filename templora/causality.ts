/**
 * Does anything that is scored depend on what comes later? A text is read, then again with one token changed, and no score of a
 * token before that one may move by a bit. A loop that trains on a chunk before it scores it, a mask that is one key too wide, or an adapter
 * that is taken too early would lower the loss, and show here.
 */
import type { Llama } from "../model/llama.ts";
import { besideWriter } from "./learner_beside.ts";
import { expectWithin } from "./limits.ts";
import { readTokens } from "./perplexity.ts";
import type { ChunkRecord } from "./records.ts";
import { Session } from "./session.ts";
import type { GivenOptions } from "./session_options.ts";

/** What changing one token did. */
export interface Flip {
  /** Index in the text of the token that was changed. */
  readonly position: number;
  /** Scores of tokens before it, of both models. */
  readonly compared: number;
  /** Those that are not the same to the bit, first ones first. */
  readonly moved: readonly Moved[];
  /** Scores of it and of what follows in its chunk that are others: 0 would mean that nothing was looked at. */
  readonly after: number;
}

export interface Moved {
  readonly model: "base" | "lora";
  /** Index in the text of the token that was scored. */
  readonly position: number;
  readonly was: number;
  readonly is: number;
}

export interface Score extends Pick<Moved, "model" | "position"> {
  /** −log p, nats. */
  readonly value: number;
}

/** Reads a text, then once for each of `positions` with another token there. Yields what each did. */
export async function* checkCausality(
  model: Llama,
  ids: Int32Array,
  positions: readonly number[],
  options: GivenOptions = {},
): AsyncGenerator<Flip> {
  for (const position of positions)
    expectWithin({ position }, { integer: true, min: 1, max: ids.length - 1 });
  const was = await scoresOf(model, ids, options);
  for (const position of positions) {
    const changed = ids.slice();
    changed[position] = ((ids[position] ?? 0) + 1) % model.config.vocab_size;
    yield compared(position, was, await scoresOf(model, changed, options, position));
  }
}

/** What became of scores when the token at `position` was changed. */
export function compared(position: number, was: readonly Score[], is: readonly Score[]): Flip {
  const pairs = is.map(({ value, ...score }, i) => ({ ...score, was: was[i]?.value ?? NaN, is: value }));
  const before = pairs.filter((pair) => pair.position < position);
  const differ = (pair: Moved): boolean => !Object.is(pair.was, pair.is);
  return {
    ...{ position, compared: before.length, moved: before.filter(differ) },
    after: pairs.filter((pair) => pair.position >= position && differ(pair)).length,
  };
}

/** The scores of the chunks up to the one with token `last`, in the order of the text. */
async function scoresOf(
  model: Llama,
  ids: Int32Array,
  options: GivenOptions,
  last = ids.length - 1,
): Promise<Score[]> {
  const place = options.schedule === "parallel" ? besideWriter : undefined;
  using session = new Session(model, { ...options, tokenScores: true }, place);
  const found: Score[] = [];
  for await (const record of readTokens(session, ids)) {
    found.push(...scoresIn(record));
    if (record.start + session.options.chunk > last) break;
  }
  return found;
}

function scoresIn({ start, context, token_scores }: ChunkRecord): Score[] {
  const first = start + (context === 0 ? 1 : 0); // nothing predicts a token with nothing before it
  return (["base", "lora"] as const).flatMap((model) =>
    (token_scores?.[model] ?? []).map((value, i) => ({ model, position: first + i, value })),
  );
}
