/**
 * Writing a text: write a chunk, train on it, continue with the updated adapter. Chunks tile the whole text, prompt included,
 * so a long prompt is read (and learnt) before the first token is written. Paper §3.2, algorithm 2.
 */
import type { ChunkRecord } from "./records.ts";
import type { Session } from "./session.ts";
import { type Keeping, keeping } from "./keeping.ts";

export interface WriteOptions extends Keeping {
  /** Tokens to write. */
  readonly tokens: number;
}

export type Written =
  { readonly type: "token"; readonly id: number } | { readonly type: "chunk"; readonly record: ChunkRecord };

/** Yields each token as it is chosen, and a record after each update. */
export async function* writeTokens(
  session: Session,
  prompt: Int32Array,
  { tokens, ...options }: WriteOptions,
): AsyncGenerator<Written> {
  const kept = await keeping(session, options);
  if (!kept.resumed) session.prefill(prompt);
  while (await kept.goesOn()) {
    if (session.due) {
      const record = await session.learn();
      kept.records.push(record);
      yield { type: "chunk", record };
      continue;
    }
    if (session.length >= prompt.length + tokens) return;
    const id = await session.next();
    if (id === null) return;
    yield { type: "token", id };
  }
}
