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

/** Yields each token as it is chosen, and a record after each update. */
export async function* writeTokens(
  session: Session,
  prompt: Int32Array,
  { tokens, read = [], ...options }: WriteOptions,
): AsyncGenerator<Written> {
  const kept = await keeping(session, options);
  const given = joined([...read, prompt]);
  const ends = session.learner ? endsOf(read) : [];
  while (await kept.goesOn()) {
    const end = ends.find((one) => session.learnt < one);
    const next = end === undefined ? given.length : Math.min(end, session.length + session.options.chunk);
    if (session.length < next) session.prefill(given.subarray(session.length, next));
    if (end !== undefined || session.due) {
      const record = await session.learn();
      kept.records.push(record);
      yield { type: "chunk", record };
      continue;
    }
    if (session.length >= given.length + tokens) return;
    const id = await session.next();
    if (id === null) return;
    yield { type: "token", id };
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
