/** What the thread of learner_beside.ts runs: a device and a copy of the model of its own, and the learner, which does as it is asked. */
import type { Build } from "../engine/backends/cpu/options.ts";
import { handed, listen, tell, tellReady } from "../engine/backends/host/workers.js";
import { observed } from "../engine/backends/observed.ts";
import { openDevice } from "../engine/backends/open.ts";
import type { ModelConfig } from "../model/config.ts";
import { Llama } from "../model/llama.ts";
import { configured, openModelFiles } from "../model/model_files.ts";
import { type Learnt, type Lesson, LocalLearner } from "./learner.ts";
import { type Timed, rehearsed } from "./rehearsal.ts";
import type { SessionOptions } from "./session_options.ts";
import { type LoraConfig, type LoraLayout, StoredAdapter } from "./stored_adapter.ts";
import type { LearnerSnapshot } from "./trainer.ts";
import { Timeline } from "./timeline.ts";

/** A StoredAdapter as a message. */
export interface SentAdapter {
  readonly config: LoraConfig;
  readonly layout: LoraLayout;
  readonly values: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  readonly source: string;
}

/** What the thread begins with. */
export interface Beginning {
  readonly module: string;
  /** The model's file or folder. */
  readonly source: string;
  readonly config: ModelConfig;
  readonly device: { readonly threads: number; readonly build: Build };
  readonly options: Omit<SessionOptions, "adapter">;
  readonly adapter: SentAdapter | null;
  /** Where a Timeline tells how far the lesson in progress is. */
  readonly progress: Float64Array;
}

/** What two threads share once the learner is there. */
export interface Opened {
  /** Device.share of the thread's device. */
  readonly share: Int32Array;
  /** A and B, in the layout of the parameters' flat buffer: where the learner has them, for they are too much to be sent. */
  readonly values: Float32Array;
}

/** What the thread is asked for, and answers. */
export interface Questions {
  open: { readonly asks: null; readonly answer: Opened };
  learn: { readonly asks: Lesson; readonly answer: Learnt };
  snapshot: { readonly asks: null; readonly answer: LearnerSnapshot };
  restore: { readonly asks: LearnerSnapshot; readonly answer: null };
}
export type Name = keyof Questions;

/** One question at a time, in the order in which they come. */
export interface Question {
  readonly name: Name;
  readonly asked: unknown;
}

/** The answers come in the order of the questions. */
export type Answer = { readonly answer: unknown } | { readonly error: Failure };

/** An error as a message: classes of our own do not survive one. */
export interface Failure {
  readonly name: string;
  readonly message: string;
}

const beginning = handed as Beginning;
let opened: (Opened & { readonly learner: LocalLearner; readonly timed: Timed }) | null = null;

async function open(): Promise<Opened> {
  const { source, config, options, adapter: sent, progress } = beginning;
  const device = await openDevice("cpu", beginning.device);
  const share = device.share ?? Int32Array.of(1);
  const timeline = new Timeline(progress, () => share[0] ?? 1);
  await using opening = await openModelFiles(source);
  const files = configured(opening, config);
  const watched = observed(device, () => timeline.tick());
  const model = await Llama.load(watched, files);
  const adapter = sent && (await StoredAdapter.of(sent.config, sent.layout, sent.values, sent.source));
  const learner = new LocalLearner(model, { ...options, adapter });
  const timed = await rehearsed(timeline, device, files, {
    ...options,
    adapter: options.recipe.adapt === "lora" ? await learner.adapter.store() : null,
  });
  const { view } = learner.adapter.parameters.values;
  const { buffer, byteOffset } = device.inPlace?.(view) ?? new Uint8Array(); // of the cpu, which has it
  const values = new Float32Array(buffer, byteOffset, view.length);
  opened = { learner, timed, share, values };
  return { share, values };
}

function there(): NonNullable<typeof opened> {
  if (!opened) throw new Error("the learner is not there");
  return opened;
}

const work: { [N in Name]: (asked: Questions[N]["asks"]) => Promise<Questions[N]["answer"]> } = {
  open,
  learn: (lesson) => there().timed(lesson, () => there().learner.begin(lesson).result()),
  snapshot: () => there().learner.snapshot(),
  restore: async (snapshot) => {
    await there().learner.restore(snapshot);
    return null;
  },
};

/** The memory of all arrays in an answer, which goes to the other thread with it; but what threads share stays shared. */
function* memoryOf(answer: unknown): Generator<ArrayBuffer> {
  if (ArrayBuffer.isView(answer)) {
    if (answer.buffer instanceof ArrayBuffer) yield answer.buffer;
  } else if (typeof answer === "object" && answer !== null)
    for (const part of Object.values(answer)) yield* memoryOf(part);
}

let last: Promise<unknown> = Promise.resolve();
listen((message) => {
  const { name, asked } = message as Question;
  last = last.then(async () => {
    try {
      const answer = await (work[name] as (asked: unknown) => Promise<unknown>)(asked);
      tell({ answer } satisfies Answer, [...memoryOf(answer)]);
    } catch (error) {
      const { name: kind, message: text } = error instanceof Error ? error : new Error(String(error));
      tell({ error: { name: kind, message: text } } satisfies Answer);
    }
  });
});
tellReady();
