/** Reading and writing in one call each: a session that lives as long as the iteration, with defaults for all options. */
import { BadInputError } from "../engine/errors.ts";
import { WRITING_RECIPE } from "./config.ts";
import type { Llama } from "../model/llama.ts";
import { writeTokens } from "./decode.ts";
import { type ReadingOptions, readTokens } from "./perplexity.ts";
import type { ChunkRecord } from "./records.ts";
import { expectWithin } from "./limits.ts";
import { besideWriter } from "./learner_beside.ts";
import { Session } from "./session.ts";
import { type GivenOptions, completeOptions } from "./session_options.ts";
import type { Keeping } from "./keeping.ts";

export type ReadOptions = GivenOptions & ReadingOptions;

export type GenerateOptions = Omit<GivenOptions, "baseline"> &
  Keeping & {
    /** Tokens to write. */
    readonly tokens: number;
    /** Texts that are read first, in order, each learnt to its end; the prompt, which may then be empty, follows the last. */
    readonly read?: readonly (string | Int32Array)[];
  };

/** A token that was chosen, with the text that it completes ("" inside a character), or the record of an update. */
export type Generated =
  | { readonly type: "token"; readonly id: number; readonly text: string }
  | { readonly type: "chunk"; readonly record: ChunkRecord };

/**
 * Reads a text (or the ids of its tokens), chunk by chunk: scores the chunk with the frozen model and with the adapted one, then
 * trains the adapter on it. Yields one record for each chunk; `Totals` adds them up.
 */
export async function* readText(
  model: Llama,
  text: string | Int32Array,
  options: ReadOptions = {},
): AsyncGenerator<ChunkRecord> {
  const ids = await idsOf(model, text);
  if (ids.length < 2) throw new BadInputError(`${ids.length} token(s); a perplexity needs at least two`);
  using session = new Session(model, options);
  yield* readTokens(session, ids, options);
}

/** Continues a prompt (or the ids of its tokens), after texts to `read`, and trains the adapter on every finished chunk, prompt included. */
export async function* generate(
  model: Llama,
  prompt: string | Int32Array,
  options: GenerateOptions,
): AsyncGenerator<Generated> {
  expectWithin({ tokens: options.tokens }, { integer: true, min: 0 });
  const ids = await idsOf(model, prompt);
  const read: Int32Array[] = [];
  for (const text of options.read ?? []) read.push(await idsOf(model, text));
  if (ids.length === 0 && !read.some(({ length }) => length > 0))
    throw new BadInputError("the prompt is empty: give at least one token to go on from");
  const place = options.schedule === "parallel" ? besideWriter : undefined;
  const complete = completeOptions({ ...options, baseline: false }, model.config, WRITING_RECIPE);
  using session = new Session(model, complete, place);
  const stream = typeof prompt === "string" ? model.tokenizer.stream({ continued: true }) : null;
  for await (const event of writeTokens(session, ids, { ...options, read }))
    yield event.type === "token" ? { ...event, text: stream?.push(event.id) ?? "" } : event;
}

async function idsOf(model: Llama, text: string | Int32Array): Promise<Int32Array> {
  return typeof text === "string" ? model.tokenizer.encodeParts([text]) : text;
}
