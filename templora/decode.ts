/**
 * Writing a text: generate a chunk, train on it, go on with the newer adapter. Chunks tile the whole text, prompt included,
 * so a long prompt is read (and learnt) before the first token is written. Paper §3.2, algorithm 2.
 */
import type { Llama } from "../model/llama.ts";
import type { ChunkRecord } from "./records.ts";
import { Session, type SessionOptions } from "./session.ts";
import type { Keeper, Kept } from "./state.ts";

export interface GenerateOptions extends Omit<SessionOptions, "baseline"> {
  /** Tokens to write. */
  readonly tokens: number;
  /** Stops between tokens. */
  readonly signal?: AbortSignal | undefined;
  /** Keeps the run's state, and has what an earlier run kept. */
  readonly keeper?: Keeper | undefined;
}

export type Written =
  { readonly type: "token"; readonly id: number } | { readonly type: "chunk"; readonly record: ChunkRecord };

/** Yields each token as it is chosen, and a record after each update. */
export async function* generate(
  model: Llama,
  prompt: Int32Array,
  { tokens, signal, keeper, ...options }: GenerateOptions,
): AsyncGenerator<Written> {
  using session = new Session(model, { ...options, baseline: false });
  const records = [...(keeper?.earlier?.records ?? [])];
  const take = async (): Promise<Kept> => ({ records: [...records], snapshot: await session.snapshot() });
  if (keeper?.earlier) await session.restore(keeper.earlier.snapshot);
  else session.prefill(prompt);
  for (;;) {
    await keeper?.point(take);
    if (signal?.aborted) break;
    if (session.due) {
      const record = await session.learn();
      records.push(record);
      yield { type: "chunk", record };
      continue;
    }
    if (session.length >= prompt.length + tokens) break;
    const id = await session.next();
    if (id === null) break;
    yield { type: "token", id };
  }
  if (signal?.aborted) await keeper?.stop(take);
}
