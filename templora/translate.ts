/**
 * The paper's translation task (§4.2): line by line, the perplexity of the reference and a greedy translation, of the base model and of
 * the adapted one; after each block the adapter is trained on its lines — the references just scored (`gold`, which is online
 * supervision) or the adapted model's own translations (`self`). Pairs have references, and the prompts hold them in every mode, for
 * both models; a text has none: its prompts hold what was translated so far.
 */
import { at } from "../kernels/base/at.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { Task } from "../engine/task.ts";
import type { Llama } from "../model/llama.ts";
import type { Learnable } from "./learnable.ts";
import type { Recipe } from "./config.ts";
import { assertGuards } from "./guard.ts";
import { type Keeping, keeping } from "./keeping.ts";
import type { LinePlace, Material, Side } from "./material.ts";
import type { LineRecord } from "./pair_material.ts";
import { PromptReader, type WritingLine, type WritingOptions } from "./prompt_reader.ts";
import type { Spent } from "./records.ts";
import { assertDrawsNothing } from "./replay.ts";
import { Stopwatch } from "./stopwatch.ts";
import { type LearnerSnapshot, type TrainedChunk, TempLora } from "./trainer.ts";

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

/** An update after a block. */
export interface UpdateRecord extends Omit<TrainedChunk, "scores">, Spent {
  readonly type: "update";
  readonly block: number;
  /** Tokens trained on, and those before them. */
  readonly tokens: number;
  readonly context: number;
}

/** What a translation of pairs yields. */
export type TranslationRecord = LineRecord | UpdateRecord;

/** A translator between two steps, on the host. */
export interface TranslatorSnapshot {
  /** Steps taken: lines and updates. */
  readonly learnt: number;
  /** The translations so far: the adapted model's, without an adapter the base model's. */
  readonly translations: readonly string[];
  readonly learner: LearnerSnapshot | null;
}

/** Translates all lines, and yields a record for each, and for each update. When `signal` aborts, a line in progress is given up. */
export async function* translateBlocks<R>(
  model: Llama,
  material: Material<R>,
  options: TranslateOptions & Keeping<R | UpdateRecord, TranslatorSnapshot> & Pick<WritingLine, "onText">,
): AsyncGenerator<R | UpdateRecord> {
  using translator = new Translator(model, material, options);
  const kept = await keeping(translator, options);
  while (await kept.goesOn()) {
    if (translator.done) return;
    try {
      const record = await translator.step(options);
      kept.records.push(record);
      yield record;
    } catch (error) {
      if (options.signal?.aborted !== true || error !== options.signal.reason) throw error;
    }
  }
}

/** The lines and updates of a run, in order; a last block's update would serve no line. */
export const stepsOf = (blocks: readonly (readonly unknown[])[], updates: boolean): Step[] =>
  blocks.flatMap((lines, block) => [
    ...lines.map((_, line): Step => ({ type: "line", block, line })),
    ...(updates && block < blocks.length - 1 ? [{ type: "update", block } as const] : []),
  ]);

type Step = (LinePlace & { readonly type: "line" }) | { readonly type: "update"; readonly block: number };

/** A translation in progress, moved on in steps. */
export class Translator<R> implements Disposable {
  readonly task: Task;
  readonly #material: Material<R>;
  readonly #steps: readonly Step[];
  readonly #learner: TempLora | null;
  readonly #base: PromptReader | null;
  readonly #adapted: PromptReader | null;
  readonly #owned: DisposableStack;
  #done = 0;
  #lines = 0;
  #said: string[] = [];

  constructor(model: Llama, material: Material<R>, options: TranslateOptions) {
    const { recipe, seed, trainOn, baseline, templora, checkpointLayers } = options;
    assertGuards(templora ? recipe : null, false);
    assertDrawsNothing(templora ? recipe : null);
    const { read, trained } = material.longest;
    using stack = new DisposableStack();
    this.task = stack.use(new Task(model.device));
    const context = { capacity: trained, reuse: 0 };
    this.#learner = templora
      ? stack.use(new TempLora(this.task, model, recipe, seed, { context, checkpointLayers }))
      : null;
    const reader = (adapter: Learnable | null): PromptReader =>
      stack.use(new PromptReader(this.task, model, adapter, read, options));
    this.#base = baseline ? reader(null) : null;
    this.#adapted = this.#learner && reader(this.#learner.adapter);
    this.#material = material;
    this.#steps = stepsOf(material.blocks, templora && trainOn !== "none");
    this.#owned = stack.move();
  }

  get done(): boolean {
    return this.#done === this.#steps.length;
  }

  /** The next line or update. Throws the signal's reason where that ends a line, which is then still the next one. */
  async step(live: WritingLine = {}): Promise<R | UpdateRecord> {
    const step = at(this.#steps, this.#done);
    const record = step.type === "line" ? await this.#line(step, live) : await this.#update(step.block);
    this.#done++;
    return record;
  }

  async #line({ block, line }: LinePlace, { signal, onText }: WritingLine): Promise<R> {
    if (line === 0) this.#begin();
    const prompt = this.#material.before({ block, line }, this.#said);
    const gold = this.#material.reference({ block, line });
    const watch = new Stopwatch(this.task.meter);
    const translated = async (reader: PromptReader | null, live: WritingLine): Promise<Side | null> => {
      if (!reader) return null;
      await reader.read(prompt);
      return { nll: gold && (await reader.score(gold)), ...(await reader.translate(live)) };
    };
    const base = await translated(this.#base, { signal, onText: this.#adapted ? undefined : onText });
    watch.book("base");
    const lora = await translated(this.#adapted, { signal, onText });
    watch.book("score");
    this.#said.push((lora ?? base)?.text ?? "");
    const context = prompt.length;
    return this.#material.record({ index: this.#lines++, block, line, context, base, lora, ...watch.spent });
  }

  /** Nothing of an earlier block stays in the caches: a run that is resumed reads the same from here on. */
  #begin(): void {
    this.#base?.forget();
    this.#adapted?.forget();
  }

  async #update(block: number): Promise<UpdateRecord> {
    const sequence = this.#material.training(block, this.#said);
    const watch = new Stopwatch(this.task.meter);
    if (!this.#learner) throw new Error("an update without a learner");
    const { scores: _, ...learnt } = await this.#learner.learn(null, sequence, watch);
    const { context, targets } = sequence;
    return { type: "update", block, tokens: targets.length, context, ...learnt, ...watch.spent };
  }

  async snapshot(): Promise<TranslatorSnapshot> {
    const learner = await this.task.unit(async () => (await this.#learner?.snapshot()) ?? null);
    return { learnt: this.#done, translations: [...this.#said], learner };
  }

  /** Puts a fresh translator where the snapshot was taken, the prompts of the block so far read again. */
  async restore({ learnt, translations, learner }: TranslatorSnapshot): Promise<void> {
    if (learner) await this.task.unit(async () => this.#learner?.restore(learner));
    this.#done = learnt;
    this.#lines = this.#steps.slice(0, learnt).filter(({ type }) => type === "line").length;
    this.#said = [...translations];
    const next = this.#steps[learnt];
    if (next?.type !== "line") return;
    const begin = translations.length - next.line;
    for (let line = 0; line < next.line; line++) {
      const place = { block: next.block, line };
      const prompt = this.#material.before(place, translations.slice(0, begin + line));
      for (const reader of [this.#base, this.#adapted]) await reader?.read(prompt);
    }
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
