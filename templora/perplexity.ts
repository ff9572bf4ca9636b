/**
 * Reading a text: chunk by chunk the base model's loss, the adapted model's loss, then training. The base pass and the
 * adapted pass see the same context. Paper §3.1, algorithm 1.
 */
import type { ChunkRecord } from "./records.ts";
import type { Session } from "./session.ts";
import { type Keeping, keeping } from "./keeping.ts";

/** Yields one record for each chunk. */
export async function* readTokens(
  session: Session,
  ids: Int32Array,
  options: Keeping = {},
): AsyncGenerator<ChunkRecord> {
  const kept = await keeping(session, options);
  while ((await kept.goesOn()) && session.length < ids.length) {
    session.prefill(ids.subarray(session.length, session.length + session.options.chunk));
    const record = await session.learn();
    kept.records.push(record);
    yield record;
  }
}
