/**
 * Prompts and single tokens against node-llama-cpp: the same GGUF file, the same tokens, the same threads, in turn. It
 * quantises activations to 8 bits before each product, so its predictions are near ours and not the same; how near is
 * checked before anything is timed, and recorded.
 */
import { at } from "../../kernels/base/at.ts";
import { median, timingOf } from "../harness.ts";
import { Contestant } from "./contestant.ts";
import type { Opened, Predicted, Timed } from "./requests.ts";

const PROMPT = 512;
const CONTEXT = 256;
const BLOCK = 16;
/** Of the likeliest tokens, how many must be the same; and by how much the mean −ln p may differ. */
const AGREEMENT = 0.9;
const NLL_TOLERANCE = 0.02;

export interface Compared {
  readonly facts: object;
  readonly rows: readonly object[];
}

const mean = (xs: readonly number[]): number => xs.reduce((sum, x) => sum + x, 0) / xs.length;

/** Throws when the two do not compute the same model. */
async function check(ours: Contestant, peer: Contestant, ids: readonly number[]): Promise<object> {
  const request = { do: "predict", ids: ids.slice(0, PROMPT), count: 64, next: ids[PROMPT] };
  const [a, b] = [await ours.ask<Predicted>(request), await peer.ask<Predicted>(request)];
  const agreement = mean(a.best.map((id, i) => (id === b.best[i] ? 1 : 0)));
  const [own, theirs] = [mean(a.nll), mean(b.nll)];
  const difference = Math.abs(theirs / own - 1);
  if (!(agreement >= AGREEMENT && difference <= NLL_TOLERANCE)) {
    throw new Error(
      `${peer.name}: ${agreement} of its choices are ours, mean −ln p ${theirs} instead of ${own}`,
    );
  }
  return { same_choices: agreement, mean_nll: own, peer_mean_nll: theirs };
}

export async function compareGeneration(
  model: string,
  ids: readonly number[],
  threads: number,
  quick: boolean,
): Promise<Compared> {
  const ours = Contestant.script("templora", "ours.contestant.ts");
  const llama = Contestant.script("node-llama-cpp", "llama.contestant.ts");
  const all = [ours, llama];
  try {
    const opened: Opened[] = [];
    for (const one of all) opened.push(await one.ask<Opened>({ do: "open", model, threads }));
    const agreement = await check(ours, llama, ids);

    const rounds = quick ? 2 : 7;
    const prompt = ids.slice(0, PROMPT);
    const prefill: number[][] = all.map(() => []);
    for (let round = -1; round < rounds; round++) {
      for (const [i, one] of all.entries()) {
        const { ms } = await one.ask<Timed>({ do: "prefill", ids: prompt });
        if (round >= 0) at(prefill, i).push(...ms);
      }
    }
    const blocks = quick ? 2 : 16;
    const decoding = async (logits: boolean): Promise<number[][]> => {
      const found: number[][] = all.map(() => []);
      for (let block = 0; block < blocks; block++) {
        const first = CONTEXT + block * BLOCK;
        const request = {
          do: "decode",
          ids: ids.slice(0, first),
          steps: ids.slice(first, first + BLOCK),
          logits,
        };
        for (const [i, one] of all.entries()) at(found, i).push(...(await one.ask<Timed>(request)).ms);
      }
      return found;
    };
    const works = [
      { work: `prefill of ${PROMPT} tokens`, tokens: PROMPT, found: prefill },
      {
        work: `decode at ${CONTEXT} to ${CONTEXT + blocks * BLOCK} tokens`,
        tokens: 1,
        found: await decoding(true),
      },
      { work: "the same without logits", tokens: 1, found: await decoding(false) },
    ];
    const rows = works.flatMap(({ work, tokens, found }) =>
      all.map(({ name }, i) => {
        const timing = timingOf({ name }, at(found, i));
        const ratio = timing.ms / median(at(found, 0));
        return { work, library: name, ...timing, tokens_per_second: (1000 * tokens) / timing.ms, ratio };
      }),
    );
    const peers = Object.fromEntries(all.map(({ name }, i) => [name, opened[i]]));
    return { facts: { peers, threads, model, agreement }, rows };
  } finally {
    for (const one of all) one.close();
  }
}
