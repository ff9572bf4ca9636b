/**
 * The paper's translation task (§4.2): line by line, the perplexity of the reference and a greedy translation, of the base model and of
 * the adapted one; after each block the adapter is trained on its lines — the references just scored (`gold`, which is online
 * supervision) or the adapted model's own translations (`self`). The prompt holds references in every mode, for both models.
 */
import { at } from "../kernels/base/at.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { Task } from "../engine/task.ts";
import type { Llama } from "../model/llama.ts";
import type { Adapter } from "./adapter.ts";
import type { Recipe } from "./config.ts";
import { type Keeping, keeping } from "./keeping.ts";
import type { Block } from "./pairs.ts";
import { PromptReader, type WritingOptions } from "./prompt_reader.ts";
import type { Spent } from "./records.ts";
import { Stopwatch } from "./stopwatch.ts";
import { type LearnerSnapshot, type TrainedChunk, TempLora } from "./trainer.ts";
import { type TranslationPrompt, longestOf } from "./translation_prompt.ts";

/** What the adapter is trained on. */
export const trainingTexts = ["gold", "self", "none"] as const;

export interface TranslateOptions extends WritingOptions {
  readonly recipe: Recipe;
  readonly seed: number;
  readonly trainOn: (typeof trainingTexts)[number];
  /** Score and translate with the frozen model. */
  readonly baseline: boolean;
  /** Score and translate with an adapter. */
  readonly templora: boolean;
  readonly checkpointLayers: number;
}

/** The paper's. */
export const MAX_NEW_TOKENS = 256;
export const REPETITION_PENALTY = 1.12;

/** A line that was scored and translated. */
export interface LineRecord extends Spent {
  readonly type: "line";
  /** Of all lines. */
  readonly index: number;
  readonly block: number;
  readonly source: string;
  readonly reference: string;
  /** Tokens of the prompt, and of the reference: those scored. */
  readonly context: number;
  readonly tokens: number;
  /** Sums over the reference, nats; null where it was not computed. */
  readonly base_nll: number | null;
  readonly lora_nll: number | null;
  readonly base_translation: string | null;
  readonly lora_translation: string | null;
}

/** An update after a block. */
export interface UpdateRecord extends Omit<TrainedChunk, "nll">, Spent {
  readonly type: "update";
  readonly block: number;
  /** Tokens trained on, and those before them. */
  readonly tokens: number;
  readonly context: number;
}

export type TranslationRecord = LineRecord | UpdateRecord;

/** A translator between two steps, on the host. */
export interface TranslatorSnapshot {
  /** Steps taken: lines and updates. */
  readonly learnt: number;
  /** The adapted model's translations of the block in progress. */
  readonly translations: readonly string[];
  readonly learner: LearnerSnapshot | null;
}

/** Translates all lines of `blocks`, and yields a record for each, and for each update. */
export async function* translateBlocks(
  model: Llama,
  prompt: TranslationPrompt,
  blocks: readonly Block[],
  options: TranslateOptions & Keeping<TranslationRecord, TranslatorSnapshot>,
): AsyncGenerator<TranslationRecord> {
  using translator = new Translator(model, prompt, blocks, options);
  const kept = await keeping(translator, options);
  while (await kept.goesOn()) {
    const record = await translator.step();
    if (record === null) return;
    kept.records.push(record);
    yield record;
  }
}

/** How many lines and updates a run takes; a last block's update would serve no line. */
export const stepsOf = (blocks: readonly Block[], updates: boolean): Step[] =>
  blocks.flatMap(({ pairs }, block) => [
    ...pairs.map((_, line): Step => ({ type: "line", block, line })),
    ...(updates && block < blocks.length - 1 ? [{ type: "update", block } as const] : []),
  ]);

type Step = LineStep | { readonly type: "update"; readonly block: number };
interface LineStep {
  readonly type: "line";
  readonly block: number;
  readonly line: number;
}

/** A translation in progress, moved on in steps. */
export class Translator implements Disposable {
  readonly task: Task;
  readonly #prompt: TranslationPrompt;
  readonly #blocks: readonly Block[];
  readonly #steps: readonly Step[];
  readonly #options: TranslateOptions;
  readonly #longest: number;
  readonly #learner: TempLora | null;
  readonly #base: PromptReader | null;
  readonly #adapted: PromptReader | null;
  readonly #owned: DisposableStack;
  #done = 0;
  #lines = 0;
  #translations: string[] = [];

  constructor(model: Llama, prompt: TranslationPrompt, blocks: readonly Block[], options: TranslateOptions) {
    const { recipe, seed, trainOn, baseline, templora, checkpointLayers, maxNewTokens } = options;
    const given = { newTokens: maxNewTokens, own: trainOn === "self" };
    const { read, trained } = longestOf(prompt, blocks, given, model.config);
    using stack = new DisposableStack();
    this.task = stack.use(new Task(model.device));
    const context = { capacity: trained, reuse: 0 };
    this.#learner = templora
      ? stack.use(new TempLora(this.task, model, recipe, seed, { context, checkpointLayers }))
      : null;
    const reader = (adapter: Adapter | null): PromptReader =>
      stack.use(new PromptReader(this.task, model, adapter, read, options));
    this.#base = baseline ? reader(null) : null;
    this.#adapted = this.#learner && reader(this.#learner.adapter);
    this.#prompt = prompt;
    this.#blocks = blocks;
    this.#steps = stepsOf(blocks, templora && trainOn !== "none");
    this.#options = options;
    this.#longest = trained;
    this.#owned = stack.move();
  }

  /** The next line or update; null when all is done. */
  async step(): Promise<TranslationRecord | null> {
    const step = this.#steps[this.#done];
    if (!step) return null;
    const record = step.type === "line" ? await this.#line(step) : await this.#update(step.block);
    this.#done++;
    return record;
  }

  async #line({ block, line }: LineStep): Promise<LineRecord> {
    if (line === 0) this.#begin();
    const { pairs } = at(this.#blocks, block);
    const { source, target: reference } = at(pairs, line);
    const prompt = this.#prompt.before(at(this.#blocks, block), line);
    const gold = Int32Array.from(this.#prompt.line(reference));
    const watch = new Stopwatch(this.task.meter);
    const read = async (reader: PromptReader | null): Promise<{ nll: number; text: string } | null> => {
      if (!reader) return null;
      await reader.read(prompt);
      return { nll: await reader.score(gold), text: await reader.translate() };
    };
    const base = await read(this.#base);
    watch.book("base");
    const lora = await read(this.#adapted);
    watch.book("score");
    if (lora) this.#translations.push(lora.text);
    return {
      ...{ type: "line", index: this.#lines++, block, source, reference },
      ...{ context: prompt.length, tokens: gold.length },
      ...{ base_nll: base?.nll ?? null, lora_nll: lora?.nll ?? null },
      ...{ base_translation: base?.text ?? null, lora_translation: lora?.text ?? null },
      ...watch.spent,
    };
  }

  /** Nothing of an earlier block stays in the caches: a run that is resumed reads the same from here on. */
  #begin(): void {
    this.#translations = [];
    this.#base?.forget();
    this.#adapted?.forget();
  }

  async #update(index: number): Promise<UpdateRecord> {
    const block = at(this.#blocks, index);
    const { trainOn } = this.#options;
    const lines = trainOn === "self" ? this.#translations : block.pairs.map(({ target }) => target);
    const sequence = this.#prompt.training(block, lines, this.#longest);
    const watch = new Stopwatch(this.task.meter);
    if (!this.#learner) throw new Error("an update without a learner");
    const { nll: _, ...learnt } = await this.#learner.learn(null, sequence, watch);
    const { context, targets } = sequence;
    return { type: "update", block: index, tokens: targets.length, context, ...learnt, ...watch.spent };
  }

  async snapshot(): Promise<TranslatorSnapshot> {
    const learner = await this.task.unit(async () => (await this.#learner?.snapshot()) ?? null);
    return { learnt: this.#done, translations: [...this.#translations], learner };
  }

  /** Puts a fresh translator where the snapshot was taken, the prompts of the block so far read again. */
  async restore({ learnt, translations, learner }: TranslatorSnapshot): Promise<void> {
    if (learner) await this.task.unit(async () => this.#learner?.restore(learner));
    this.#done = learnt;
    this.#lines = this.#steps.slice(0, learnt).filter(({ type }) => type === "line").length;
    this.#translations = [...translations];
    const next = this.#steps[learnt];
    if (next?.type !== "line") return;
    for (let line = 0; line < next.line; line++)
      for (const reader of [this.#base, this.#adapted])
        await reader?.read(this.#prompt.before(at(this.#blocks, next.block), line));
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
