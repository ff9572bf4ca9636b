/**
 * How the time of an update is divided among its kernels, where none of its kind was done before: by what they cost. It is found on a
 * device that only counts, in the time of a token or two.
 */
import { CountingDevice, type DeviceLike } from "../engine/backends/counting.ts";
import { observed } from "../engine/backends/observed.ts";
import type { Cost } from "../engine/meter.ts";
import { isWeightDType } from "../kernels/base/dtype.ts";
import { Llama } from "../model/llama.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { counted } from "./config.ts";
import { type Lesson, LocalLearner } from "./learner.ts";
import type { SessionOptions } from "./session_options.ts";
import type { Timeline } from "./timeline.ts";

/** Milliseconds of a thread, roughly: what something takes in shares of something else. */
export const timeOf = ({ flops, bytes }: Cost): number => flops / 5e7 + bytes / 1e7;

/** Does a lesson by the timeline. */
export type Timed = <T>(lesson: Lesson, work: () => Promise<T>) => Promise<T>;

/**
 * What does the lessons of a learner with these options on a device like this one, each by the timeline, which knows its kind by then.
 * They come in the order of the text.
 */
export async function rehearsed(
  timeline: Timeline,
  like: DeviceLike,
  files: ModelFiles,
  options: SessionOptions,
): Promise<Timed> {
  let time = 0;
  const device = observed(new CountingDevice(like), ({ kernel, dims, params, slots }) => {
    timeline.tick();
    const weight = slots[kernel.weightSlot ?? ""]?.buffer.dtype ?? "f32";
    time += timeOf(kernel.spec.cost(dims, params, isWeightDType(weight) ? weight : "f32"));
  });
  const trial = new LocalLearner(await Llama.unfilled(device, files), {
    ...options,
    recipe: counted(options.recipe),
  });
  let lessons = 0;
  return async (lesson, work) => {
    const { scored, trained, replayed, renewal } = lesson;
    const sequences = [scored, trained, replayed].map((one) => `${one?.context} + ${one?.targets.length}`);
    const phase = lessons++ % (options.reuseCache + 1); // of a cache that is used again
    const kind = [...sequences, renewal?.ids.length, phase].join(", ");
    const rehearse = (): Promise<unknown> => trial.begin(lesson).result();
    if (!timeline.knows(kind)) await timeline.measure(kind, rehearse, () => time);
    return timeline.measure(kind, work);
  };
}
