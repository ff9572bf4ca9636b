/**
 * Reading a text: chunk by chunk the base model's loss, the adapted model's loss, then training. The base pass and the
 * adapted pass see the same context. Paper §3.1, algorithm 1.
 */
import type { ChunkRecord } from "./records.ts";
import type { Session } from "./session.ts";
import { type Keeping, keeping } from "./keeping.ts";
import { expectWithin } from "./limits.ts";

export interface ReadingOptions extends Keeping {
  /** Tokens of the text's first chunk; default: those of every chunk. */
  readonly firstChunk?: number;
}

/** Yields one record for each chunk. */
export async function* readTokens(
  session: Session,
  ids: Int32Array,
  { firstChunk, ...options }: ReadingOptions = {},
): AsyncGenerator<ChunkRecord> {
  const { chunk } = session.options;
  if (firstChunk !== undefined) expectWithin({ firstChunk }, { integer: true, min: 1 });
  const kept = await keeping(session, options);
  while ((await kept.goesOn()) && session.length < ids.length) {
    const tokens = session.length === 0 ? (firstChunk ?? chunk) : chunk;
    session.prefill(ids.subarray(session.length, session.length + tokens));
    const record = await session.learn(tokens);
    kept.records.push(record);
    yield record;
  }
}
