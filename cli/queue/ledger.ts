/**
 * What the store holds of tasks, and the rules that make each result exactly once however often a task is delivered:
 *
 * - `results/KEY.jsonl` is made by a conditional put. KEY is the hash of all that decides what is in it.
 * - A delivery takes the next number of `claims/KEY/` (a conditional put again): its fencing token.
 * - Its checkpoint is `checkpoints/KEY/TOKEN`, so that no other delivery's is ever replaced; the next one begins from the newest.
 * - Whoever finds a larger token than its own, or a result, is stale and stops.
 */
import { hash } from "../identity.ts";
import type { Store } from "./store.ts";

const DIGITS = 6;
const numbered = (token: number): string => String(token).padStart(DIGITS, "0");
const resultKey = (key: string): string => `results/${key}.jsonl`;

/** Puts a text where every worker finds it; returns its hash. */
export async function putText(store: Store, text: Uint8Array): Promise<string> {
  const sha256 = hash(text);
  await store.putNew(`texts/${sha256}`, text);
  return sha256;
}

export const getText = (store: Store, sha256: string): Promise<Uint8Array | null> =>
  store.get(`texts/${sha256}`);

export const getResult = async (store: Store, key: string): Promise<string | null> => {
  const found = await store.get(resultKey(key));
  return found && Buffer.from(found).toString("utf8");
};

/** The keys of all results. */
export async function resultsIn(store: Store): Promise<string[]> {
  return (await store.list("results/")).map((path) => path.slice("results/".length, -".jsonl".length));
}

/** One delivery of a task: it holds the task until another takes the next token. */
export class Claim {
  readonly key: string;
  readonly token: number;
  readonly #store: Store;

  private constructor(store: Store, key: string, token: number) {
    this.#store = store;
    this.key = key;
    this.token = token;
  }

  /** `by` says who it is. */
  static async take(store: Store, key: string, by: string): Promise<Claim> {
    const taken = await store.list(`claims/${key}/`);
    for (let token = 1 + tokenIn(taken.at(-1)); ; token++)
      if (await store.putNew(`claims/${key}/${numbered(token)}`, Buffer.from(`${by}\n`)))
        return new Claim(store, key, token);
  }

  /** Whether another delivery of the task has begun after this one, or has finished it. */
  async isStale(): Promise<boolean> {
    const newest = (await this.#store.list(`claims/${this.key}/`)).at(-1);
    return tokenIn(newest) !== this.token || (await this.#store.get(resultKey(this.key))) !== null;
  }

  /** Gets the newest checkpoint of earlier deliveries; the token that made it, null where there is none. */
  async resume(path: string): Promise<number | null> {
    const earlier = await this.#store.list(`checkpoints/${this.key}/`);
    for (const key of earlier.reverse()) if (await this.#store.download(key, path)) return tokenIn(key);
    return null;
  }

  /** Puts a checkpoint, and removes those of earlier deliveries. Rejects once `signal` calls it off. */
  async keep(path: string, signal?: AbortSignal): Promise<void> {
    const folder = `checkpoints/${this.key}/`;
    await this.#store.upload(`${folder}${numbered(this.token)}`, path, signal);
    for (const key of await this.#store.list(folder))
      if (tokenIn(key) < this.token) await this.#store.remove(key);
  }

  /** Makes the result, unless another delivery has made it; whether it did. Then nothing else is left of the task. */
  async finish(result: string): Promise<boolean> {
    const made = await this.#store.putNew(resultKey(this.key), Buffer.from(result));
    for (const folder of ["checkpoints", "claims"])
      for (const key of await this.#store.list(`${folder}/${this.key}/`)) await this.#store.remove(key);
    return made;
  }
}

const tokenIn = (key = ""): number => Number(key.slice(-DIGITS));
