/**
 * Reading a text: chunk by chunk the base model's loss, the adapted model's loss, then training. The base pass and the
 * adapted pass see the same context. Paper §3.1, algorithm 1.
 */
import type { Llama } from "../model/llama.ts";
import type { ChunkRecord } from "./records.ts";
import { Session, type SessionOptions } from "./session.ts";
import type { Keeper, Kept } from "./state.ts";

export interface ReadOptions extends SessionOptions {
  /** Stops between chunks. */
  readonly signal?: AbortSignal | undefined;
  /** Keeps the run's state, and has what an earlier run kept. */
  readonly keeper?: Keeper | undefined;
}

/** Yields a record a chunk. The adapter lives as long as the iteration. */
export async function* readTokens(
  model: Llama,
  ids: Int32Array,
  { signal, keeper, ...options }: ReadOptions,
): AsyncGenerator<ChunkRecord> {
  using session = new Session(model, options);
  const records = [...(keeper?.earlier?.records ?? [])];
  const take = async (): Promise<Kept> => ({ records: [...records], snapshot: await session.snapshot() });
  if (keeper?.earlier) await session.restore(keeper.earlier.snapshot);
  for (;;) {
    await keeper?.point(take);
    if (signal?.aborted || session.length >= ids.length) break;
    session.prefill(ids.subarray(session.length, session.length + options.chunk));
    const record = await session.learn();
    records.push(record);
    yield record;
  }
  if (signal?.aborted) await keeper?.stop(take);
}
