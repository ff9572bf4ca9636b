/** What the thread of learner_beside.ts runs: a device and a copy of the model of its own, and the learner, which does as it is asked. */
import type { Build } from "../engine/backends/cpu/options.ts";
import { handed, listen, tell, tellReady } from "../engine/backends/host/workers.js";
import { observed } from "../engine/backends/observed.ts";
import { CountingDevice } from "../engine/backends/counting.ts";
import { openDevice } from "../engine/backends/open.ts";
import type { Device } from "../engine/device.ts";
import type { Cost } from "../engine/meter.ts";
import { isWeightDType } from "../kernels/base/dtype.ts";
import type { ModelConfig } from "../model/config.ts";
import { Llama } from "../model/llama.ts";
import { type ModelFiles, configured, openModelFiles } from "../model/model_files.ts";
import { sequence } from "./chunks.ts";
import { type Learnt, type Lesson, LocalLearner } from "./learner.ts";
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
  /** The share of the lesson in progress that is done: one number, in shared memory. */
  readonly progress: Float64Array;
}

/** What the thread is asked for, and answers. */
export interface Questions {
  /** Device.share of the thread's device. */
  open: { readonly asks: null; readonly answer: Int32Array };
  /** The adapter's values come along, so that nobody waits for them later. */
  learn: {
    readonly asks: Lesson;
    readonly answer: { readonly learnt: Learnt; readonly values: Float32Array };
  };
  values: { readonly asks: null; readonly answer: Float32Array };
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
const timeline = new Timeline(beginning.progress);
let learner: LocalLearner | null = null;

/** A processor, roughly, for the time before this one is measured: operations and bytes a millisecond. */
const SPEED: Cost = { flops: 5e7, bytes: 1e7 };

/** How the time of an update is divided among its kernels, for the first one: by what they cost, on a device that only counts. */
async function rehearse(like: Device, files: ModelFiles, options: SessionOptions): Promise<void> {
  let time = 0;
  const device = observed(new CountingDevice(like), ({ kernel, dims, params, slots }) => {
    timeline.tick();
    const weight = slots[kernel.weightSlot ?? ""]?.buffer.dtype ?? "f32";
    const { flops, bytes } = kernel.spec.cost(dims, params, isWeightDType(weight) ? weight : "f32");
    time += flops / SPEED.flops + bytes / SPEED.bytes;
  });
  using model = await Llama.unfilled(device, files);
  using trial = new LocalLearner(model, options);
  const { chunk, window } = options;
  const older = new Int32Array(Math.min(chunk, Math.max(0, window - chunk)));
  const trained = sequence(new Int32Array(chunk), { index: 0, start: 0, end: chunk }, 0);
  const lesson = { scored: null, trained, renewal: { start: 0, ids: older, position: 0 } };
  await timeline.measure(
    () => trial.begin(lesson).result(),
    () => time,
  );
}

async function open(): Promise<Int32Array> {
  const { source, config, options, adapter: sent } = beginning;
  const device = await openDevice("cpu", beginning.device);
  await using files = await openModelFiles(source);
  const model = await Llama.load(
    observed(device, () => timeline.tick()),
    configured(files, config),
  );
  const adapter = sent && (await StoredAdapter.of(sent.config, sent.layout, sent.values, sent.source));
  learner = new LocalLearner(model, { ...options, adapter });
  await rehearse(device, files, { ...options, adapter: await learner.adapter.store() });
  return device.share ?? Int32Array.of(1);
}

const opened = (): LocalLearner => {
  if (!learner) throw new Error("the learner is not there");
  return learner;
};

const work: { [N in Name]: (asked: Questions[N]["asks"]) => Promise<Questions[N]["answer"]> } = {
  open,
  learn: (lesson) =>
    timeline.measure(async () => {
      const learnt = await opened().begin(lesson).result();
      return { learnt, values: await opened().values() };
    }),
  values: () => opened().values(),
  snapshot: () => opened().snapshot(),
  restore: async (snapshot) => {
    await opened().restore(snapshot);
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
