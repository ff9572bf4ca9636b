/**
 * What a model still knows of what it has read: facts at known distances, asked for behind the text, by the frozen model with its window
 * and by the adapted one with the same; and what the adapter has cost it, on a text that has nothing to do with the one it read and on replies of its own.
 */
import { at } from "../../kernels/base/at.ts";
import { BadInputError } from "../../engine/errors.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import type { Llama } from "../../model/llama.ts";
import type { Task } from "../../engine/task.ts";
import type { Learnable } from "../learnable.ts";
import { type Sequence, bosOf, chunkSpans, headed, sequence } from "../chunks.ts";
import type { Neighbours } from "../neighbours.ts";
import { Session } from "../session.ts";
import { score, watching } from "../scoring.ts";
import { type Fact, Grammar, type LanguageName } from "./grammar.ts";

export interface RecallPlan {
  readonly language: LanguageName;
  readonly seed: number;
  /** Tokens a chunk. */
  readonly chunk: number;
  /** In chunks, from the one with the fact to the question behind the text; 1: the text's last chunk. */
  readonly distances: readonly number[];
  /** Facts at each distance. */
  readonly facts: number;
}

export interface Planted extends Fact {
  readonly distance: number;
  readonly question: Int32Array;
  readonly ids: Int32Array;
}

/** A text of as many chunks as the longest distance, with facts in some, and the questions. */
export function recallText(
  { language, seed, chunk, distances, facts }: RecallPlan,
  tokenizer: Tokenizer,
): { ids: Int32Array; planted: Planted[] } {
  const grammar = new Grammar(language, seed);
  const encode = (text: string): number[] => tokenizer.encode(text, { special: false });
  const chunks = Math.max(...distances);
  const planted: Planted[] = [];
  const ids = tokenizer.encode("").filter((id) => id === tokenizer.bosId);
  let told = -1; // the last chunk whose facts are told
  while (ids.length < chunks * chunk) {
    const index = Math.floor(ids.length / chunk);
    const distance = chunks - index;
    const due = told < index && distances.includes(distance) && ids.length % chunk >= chunk / 4;
    if (!due) {
      ids.push(...encode(grammar.sentence()));
      continue;
    }
    told = index;
    for (let n = 0; n < facts; n++) {
      const fact = grammar.fact();
      const { question, answer } = grammar.ask(fact);
      ids.push(...encode(grammar.tell(fact)));
      const asked = { question: Int32Array.from(encode(question)), ids: Int32Array.from(encode(answer)) };
      planted.push({ ...fact, distance, ...asked });
    }
    if (ids.length > (index + 1) * chunk)
      throw new BadInputError(`a chunk of ${chunk} tokens is too short for ${facts} facts and a sentence`);
  }
  const missing = distances.find((one) => !planted.some(({ distance }) => distance === one));
  if (missing !== undefined)
    throw new BadInputError(`a chunk of ${chunk} tokens is too short for ${facts} facts and a sentence`);
  return { ids: Int32Array.from(ids.slice(0, chunks * chunk)), planted };
}

/** One model's answer to one question. */
export interface Answer {
  /** log p of the whole answer, nats. */
  readonly logp: number;
  /** Its tokens are the likeliest ones, each behind the ones before. */
  readonly exact: boolean;
}

/** How a model answers behind the last `window` tokens of a text; with a `memory` of that text, with its share. */
export async function ask(
  task: Task,
  model: Llama,
  adapter: Learnable | null,
  { question, ids }: Pick<Planted, "question" | "ids">,
  text: Int32Array,
  window: number,
  memory: Neighbours | null = null,
): Promise<Answer> {
  const context = headed(text.subarray(Math.max(0, text.length - window)), bosOf(text, model.config));
  const inputs = Int32Array.from([...context, ...question, ...ids.subarray(0, -1)]);
  const { max_position_embeddings: positions, vocab_size: V } = model.config;
  if (inputs.length > positions)
    throw new BadInputError(
      `a window of ${context.length} and a question exceed the model's ${positions} positions`,
    );
  return await task.unit(async () => {
    using _scope = task.scope();
    const from = inputs.length - ids.length;
    const hidden = model.forward(model.ids(task, inputs), { adapter, from, ...watching(memory) });
    const nll = await model.nll(hidden, ids).data();
    const logits = await model.logits(hidden).data();
    const { share, votes } = (await memory?.votes(ids.length)) ?? { share: 0, votes: [] };
    let [logp, exact] = [0, true];
    for (const [t, id] of ids.entries()) {
      const row = logits.subarray(t * V, (t + 1) * V);
      const likeliest = largest(row);
      /** From logits to log p, in nats. */
      const shift = at(nll, t) + at(row, id);
      const p = (token: number): number =>
        (1 - share) * Math.exp(at(row, token) - shift) + share * (votes[t]?.get(token) ?? 0);
      logp += share > 0 ? Math.log(p(id)) : -at(nll, t);
      const rivals = [likeliest, ...(votes[t]?.keys() ?? [])];
      exact &&= share > 0 ? rivals.every((token) => token === id || p(token) < p(id)) : likeliest === id;
    }
    return { logp, exact };
  });
}

const largest = (row: Float32Array): number =>
  row.reduce((best, x, i) => (x > (row[best] ?? -Infinity) ? i : best), 0);

/** Sum of a model's negative log-likelihoods of a text that nothing is learnt from, nats, and of how many tokens. */
export async function lossOf(
  task: Task,
  model: Llama,
  adapter: Learnable | null,
  ids: Int32Array,
  { chunk, window }: { readonly chunk: number; readonly window: number },
): Promise<{ nll: number; tokens: number }> {
  let [nll, tokens] = [0, 0];
  const bos = bosOf(ids, model.config);
  for (const span of chunkSpans(ids.length, chunk)) {
    const part = sequence(ids, span, window, bos);
    nll += await task.unit(() => score(task, model, part, adapter));
    tokens += part.targets.length;
  }
  return { nll, tokens };
}

/** What the model is asked in its chat format; what the base answers is what the adapted model is then scored on. */
const QUESTIONS = [
  "What is the capital of France?",
  "Name three animals that can fly.",
  "Write one sentence about the sea.",
];

/** The frozen model's own replies, greedily, in its chat format: none where it has no such format. */
export async function ownReplies(model: Llama, tokens: number): Promise<Sequence[]> {
  const { tokenizer } = model;
  if (!tokenizer.hasChatTemplate) return [];
  const replies: Sequence[] = [];
  for (const content of QUESTIONS) {
    const prompt = Int32Array.from(tokenizer.chat([{ role: "user", content }]));
    const windows = { chunk: tokens, window: prompt.length };
    using session = new Session(model, { ...windows, templora: false, stopIds: tokenizer.eosIds });
    session.prefill(prompt);
    for (let n = 0; n < tokens; n++) if ((await session.next()) === null) break;
    const { ids } = session;
    const context = prompt.length;
    if (ids.length > context)
      replies.push({
        ...{ start: 0, inputs: ids.subarray(0, -1), from: context - 1 },
        ...{ targets: ids.subarray(context), context },
      });
  }
  return replies;
}
