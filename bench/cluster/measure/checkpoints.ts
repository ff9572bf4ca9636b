/** What a checkpoint of a text costs: its bytes, how long the reading waits for it, and how fast a store takes it and gives it back. */
import { mkdtempSync, rmSync } from "node:fs";
import { stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Claim } from "../../../cli/queue/ledger.ts";
import { makeStore } from "../../../cli/queue/open_store.ts";
import { Session, loadModel, openDevice } from "../../../templora/index.ts";
import { readTokens } from "../../../templora/perplexity.ts";
import { keepBefore, saveRun } from "../../../templora/state.ts";
import { S3Server, awsAt } from "../../../test/support/servers.ts";

export interface CheckpointCost {
  readonly bytes: number;
  /** The text's reading waits for it: a copy of the session, written beside a copy of the state before it. */
  readonly saveSeconds: number;
  readonly stores: readonly StoreRate[];
}

interface StoreRate {
  readonly store: string;
  /** Of one worker alone, and of all four at once. MB = 10⁶ bytes. */
  readonly putMBps: number;
  readonly fourPutMBps: number;
  readonly getMBps: number;
}

const TIMES = 4;
const AT_ONCE = 4;

export async function checkpointCost(model: string, text: string): Promise<CheckpointCost> {
  const folder = mkdtempSync(join(tmpdir(), "templora-checkpoint-"));
  try {
    const path = join(folder, "state");
    const saveSeconds = await saving(model, text, path);
    const { size: bytes } = await stat(path);
    const stores = [await rateOf("folder", join(folder, "store"), path, bytes)];
    await using s3 = await S3Server.start(1024);
    Object.assign(process.env, awsAt(s3.port));
    stores.push(await rateOf("S3 (SeaweedFS)", "s3://templora/scale", path, bytes));
    return { bytes, saveSeconds, stores };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Some chunks by the default recipe, then the state as a run keeps it. */
async function saving(name: string, text: string, path: string): Promise<number> {
  await using device = await openDevice("cpu");
  using model = await loadModel(device, name);
  using session = new Session(model);
  const ids = model.tokenizer.encode(text).slice(0, 1300); // beyond the first window
  const records = [];
  for await (const record of readTokens(session, Int32Array.from(ids), {})) records.push(record);
  const times: number[] = [];
  for (let i = 0; i <= TIMES; i++) {
    const began = performance.now();
    const facts = { texts: [{ records, snapshot: await session.snapshot() }], numerics: [] };
    if (i > 0) await keepBefore(path);
    await saveRun(path, { identity: "0", about: { run: {}, parts: {} }, facts });
    if (i > 0) times.push((performance.now() - began) / 1000);
  }
  return Math.min(...times); // other work only adds to it
}

async function rateOf(store: string, place: string, path: string, bytes: number): Promise<StoreRate> {
  const opened = await makeStore(place);
  const claims = await Promise.all(
    Array.from({ length: AT_ONCE }, (_, i) => Claim.take(opened, `book${i}`, "bench")),
  );
  const rate = async (work: (claim: Claim) => Promise<unknown>, of: readonly Claim[]): Promise<number> => {
    const rates: number[] = [];
    for (let i = 0; i < TIMES; i++) {
      const began = performance.now();
      await Promise.all(of.map(work));
      rates.push((of.length * bytes) / 1e3 / (performance.now() - began));
    }
    return Math.max(...rates);
  };
  const put = (claim: Claim): Promise<void> => claim.keep(path);
  const putMBps = await rate(put, claims.slice(0, 1));
  const fourPutMBps = await rate(put, claims);
  const getMBps = await rate((claim) => claim.resume(`${path}.got`), claims.slice(0, 1));
  return { store, putMBps, fourPutMBps, getMBps };
}
