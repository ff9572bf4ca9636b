/**
 * Window and layers of `tuned` for what a token may cost, by the front of perplexity against cost that was measured (docs/results.md).
 * Costs are counted, on a device that computes nothing, so that the same model and budget always get the same setting.
 */
import { CountingDevice, type DeviceLike } from "../engine/backends/counting.ts";
import { BadInputError } from "../engine/errors.ts";
import { Llama } from "../model/llama.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { type Recipe, recipes } from "./config.ts";
import type { Split } from "./records.ts";
import { timeOf } from "./rehearsal.ts";
import { Session, midway } from "./session.ts";
import { type Windows, windowsOf } from "./session_options.ts";

/** The fewest layers, and the windows, widest first, of which each beats what is narrower and costs as much: bench/results, suite `front`. A window of 192 loses more than ten layers bring. */
const LEAST_LAYERS = 1 / 6;
const WINDOWS: readonly number[] = [960, 448];

export interface Choice {
  readonly recipe: Recipe;
  readonly windows: Windows;
  /** Time a token by count, in times of the frozen model's with the window of `tuned`. */
  readonly cost: number;
}

/** What a token costs hardly depends on the device. */
const like: DeviceLike = {
  info: { kind: "cpu", description: "", software: true, facts: { threads: 1 } },
  viewAlignment: 64,
  limits: { buffer: Infinity, binding: Infinity },
};

/**
 * The widest window of which `budget` times the frozen model's time pays the least layers, and then as many layers, from the last one on, as
 * it pays; throws BadInputError where it pays none. `tuned`: all else of the recipe.
 */
export async function chooseWithin(
  budget: number,
  modelFiles: ModelFiles,
  tuned: Recipe = recipes.tuned,
): Promise<Choice> {
  const { config } = modelFiles;
  const all = config.num_hidden_layers;
  const least = Math.max(1, Math.round(LEAST_LAYERS * all));
  const widest = windowsOf({}, config, tuned, { writes: false });
  let base: number | null = null;
  let lowest = Infinity;
  for (const window of new Set(WINDOWS.map((width) => Math.min(width, widest.window)))) {
    const windows = windowsOf({ window }, config, tuned, { writes: false });
    const choice = async (layers: number): Promise<Choice> => {
      const recipe = { ...tuned, layers: layers === all ? 0 : layers };
      const times = await timesOf(modelFiles, recipe, windows);
      base ??= times.base; // with the widest window
      return { recipe, windows, cost: (times.score + times.train) / base };
    };
    const most = await choice(all);
    if (most.cost <= budget) return most;
    const few = await choice(least);
    lowest = Math.min(lowest, few.cost);
    if (few.cost > budget) continue;
    // a layer more costs as much as any other
    const each = (most.cost - few.cost) / (all - least);
    for (let layers = least + Math.floor((budget - few.cost) / each); layers > least; layers--) {
      const found = await choice(layers);
      if (found.cost <= budget) return found;
    }
    return few;
  }
  throw new BadInputError(
    `a budget of ${budget}x is below the ${lowest.toFixed(2)}x that the cheapest setting takes with this model; the frozen model alone is --no-templora`,
  );
}

/** Of a chunk in the midst of a text, by count; the reading of a cache that is made anew is shared by the chunks that it serves. */
async function timesOf(modelFiles: ModelFiles, recipe: Recipe, windows: Windows): Promise<Split> {
  const { chunk, window, reuseCache } = windows;
  await using device = new CountingDevice(like);
  using model = await Llama.unfilled(device, modelFiles);
  using session = new Session(model, { ...windows, recipe });
  const learnt = Math.ceil(window / chunk) * chunk;
  await session.restore(midway(session.options, { length: learnt + 2 * chunk, learnt }));
  const [anew, again] = [await session.learn(), await session.learn()];
  const of = (what: keyof Split): number => {
    const [first, other] = [anew, again].map(({ flops, bytes }) =>
      timeOf({ flops: flops[what], bytes: bytes[what] }),
    );
    return (Number(first) + reuseCache * Number(other)) / (reuseCache + 1);
  };
  return { base: of("base"), score: of("score"), train: of("train") };
}
