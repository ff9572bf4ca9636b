/**
 * Writing a text: write a chunk, train on it, continue with the updated adapter. Chunks tile the whole text, prompt included,
 * so a long prompt is read (and learnt) before the first token is written. Paper §3.2, algorithm 2. Texts that are read before the
 * prompt are learnt to their last token, as in perplexity.ts: each ends a chunk, and the next begins one.
 */
import type { ChunkRecord } from "./records.ts";
import type { Session } from "./session.ts";
import { type Keeping, keeping } from "./keeping.ts";

export interface WriteOptions extends Keeping {
  /** Tokens to write. */
  readonly tokens: number;
  /** The ids of texts that are read first, in order; the prompt follows the last, or nothing. */
  readonly read?: readonly Int32Array[];
}

export type Written =
  { readonly type: "token"; readonly id: number } | { readonly type: "chunk"; readonly record: ChunkRecord };

/**
 * Yields each token as it is chosen, and a record after each update. Under the schedule "parallel", chunk k is learnt while chunk
 * k + 1 is written; when that is complete the update on chunk k is taken, and chunk k + 1 handed to the learner. What is given is
 * learnt with nothing to be written meanwhile, so the text begins with an adapter that knows all of it. Under `onRepetition` "stop" the
 * text ends behind the record of a chunk that repeats itself, as it does where it is interrupted, with its state kept.
 */
export async function* writeTokens(
  session: Session,
  prompt: Int32Array,
  { tokens, read = [], ...options }: WriteOptions,
): AsyncGenerator<Written> {
  const kept = await keeping(session, options);
  const given = joined([...read, prompt]);
  const { templora, chunk, schedule, onRepetition } = session.options;
  const ends = templora ? endsOf(read) : [];
  let repeats = false;
  const learnt = (record: ChunkRecord): Written => {
    kept.records.push(record);
    repeats = record.repeats === 1 && onRepetition === "stop";
    return { type: "chunk", record };
  };
  let ended = false;
  while (await kept.goesOn()) {
    if (repeats) return kept.stop();
    const end = ends.find((one) => session.learnt < one);
    const next = end === undefined ? given.length : Math.min(end, session.length + chunk);
    if (session.length < next) session.prefill(given.subarray(session.length, next));
    ended ||= session.length >= given.length + tokens;
    const beside = schedule === "parallel" && session.length > given.length && !ended;
    if (session.learning && (session.due || ended)) yield learnt(await session.take());
    else if (session.due && beside) await session.hand();
    else if (end !== undefined || session.due) yield learnt(await session.learn());
    else if (ended) return;
    else {
      const id = await session.next();
      if (id !== null) yield { type: "token", id };
      else if (session.learning) ended = true;
      else return;
    }
  }
}

/** Where each of the texts ends when they follow one another. */
export function endsOf(texts: readonly Int32Array[]): number[] {
  let end = 0;
  return texts.map(({ length }) => (end += length));
}

function joined(texts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(texts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const text of texts) {
    all.set(text, end);
    end += text.length;
  }
  return all;
}

/**
 * How many updates tokens [learnt, length) of a text bring, whose first parts, those that are read, end at `ends`: such a part is
 * learnt to its end, and of what follows whole chunks.
 */
export function updatesIn(ends: readonly number[], learnt: number, length: number, chunk: number): number {
  let [from, updates] = [learnt, 0];
  for (const end of ends) {
    updates += Math.ceil(Math.max(0, end - from) / chunk);
    from = Math.max(from, end);
  }
  return updates + Math.floor(Math.max(0, length - from) / chunk);
}
