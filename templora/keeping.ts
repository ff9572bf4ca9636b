/** What an interrupted run continues from, and how a loop over a session's steps keeps it. state.ts puts it on disk. */
import type { ChunkRecord } from "./records.ts";
import type { SessionSnapshot } from "./session.ts";

/** The output of a run so far, and what its next step depends on. */
export interface Kept<R = ChunkRecord, S = SessionSnapshot> {
  readonly records: readonly R[];
  readonly snapshot: S;
}

/** Where a run's state goes, and where it comes from. */
export interface Keeper<R = ChunkRecord, S = SessionSnapshot> {
  /** What an earlier run kept; null to start afresh. */
  readonly earlier: Kept<R, S> | null;
  /** Called between any two steps. `take` copies the whole state, which costs time: call it now and then only. */
  point(take: () => Promise<Kept<R, S>>): Promise<void>;
  /** Called before the loop ends early. */
  stop(take: () => Promise<Kept<R, S>>): Promise<void>;
}

/** What a loop over a session's steps takes. */
export interface Keeping<R = ChunkRecord, S = SessionSnapshot> {
  /** When it aborts, the loop stops before the next step. */
  readonly signal?: AbortSignal | undefined;
  /** Where the run's state is kept and an earlier run's comes from. */
  readonly keeper?: Keeper<R, S> | undefined;
}

/** Puts a fresh session where the earlier run stopped, if there was one, and keeps its state from then on. */
export async function keeping<R, S>(
  session: Resumable<S>,
  { signal, keeper }: Keeping<R, S>,
): Promise<KeptLoop<R>> {
  const earlier = keeper?.earlier ?? null;
  if (earlier) await session.restore(earlier.snapshot);
  const records = [...(earlier?.records ?? [])];
  const take = async (): Promise<Kept<R, S>> => ({
    records: [...records],
    snapshot: await session.snapshot(),
  });
  return {
    resumed: earlier !== null,
    records,
    goesOn: async () => {
      await keeper?.point(take);
      if (!signal?.aborted) return true;
      await keeper?.stop(take);
      return false;
    },
    stop: async () => keeper?.stop(take),
  };
}

/** A session, or what else is moved on in steps. */
interface Resumable<S> {
  snapshot(): Promise<S>;
  restore(snapshot: S): Promise<void>;
}

interface KeptLoop<R> {
  readonly resumed: boolean;
  /** All records of the run; the loop appends to them. */
  readonly records: R[];
  /** Called between two steps; false when the run is to stop here, with its state kept. */
  goesOn(): Promise<boolean>;
  /** Keeps the state of a run that stops here by itself. */
  stop(): Promise<void>;
}
