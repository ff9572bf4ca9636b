/**
 * Where a number first stopped being finite. That a loss or logits hold none costs nothing to notice, but does not tell the cause. So
 * the same tokens are read once more, and the first part of the model that gives such a value is looked for: without the adapter, and
 * only if all is finite there with it. Weights are not to blame: those that are not finite are refused when they are loaded.
 */
import { NonFiniteError } from "../engine/errors.ts";
import { linear, rows } from "../engine/ops/index.ts";
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { at } from "../kernels/base/at.ts";
import { sum } from "../kernels/sum/sum.ts";
import type { Llama, ModelPart, Pass } from "../model/llama.ts";
import type { Learnable } from "./learnable.ts";

const finite = (x: number): boolean => Number.isFinite(x);

/** The error to throw when reading `ids` with `adapter` ended as `what` says. `step`: the one whose dropout masks were drawn. */
export async function nonFinite(
  what: string,
  task: Task,
  model: Llama,
  ids: Int32Array,
  adapter: Learnable | null,
  step: number | null = null,
): Promise<NonFiniteError> {
  return new NonFiniteError(`${what}: ${await cause(task, model, ids, adapter, step)}`);
}

async function cause(
  task: Task,
  model: Llama,
  ids: Int32Array,
  adapter: Learnable | null,
  step: number | null,
): Promise<string> {
  const base = await firstPlace(task, model, ids, {});
  if (base) return `${inWords(base)} without an adapter: the model's own values are too large for float32`;
  if (!adapter) return "read once more, the same tokens give finite values";
  const { broken, fresh } = await parametersOf(adapter);
  const tooFar = `the base model alone is finite, so ${adapter.loaded ? "the loaded adapter or its" : "its"} updates went too far: lower lr or clip`;
  if (broken !== null) return `the adapter's ${broken}; ${tooFar}`;
  const adapted = await firstPlace(task, model, ids, { adapter, step });
  if (!adapted) return "read once more, without cached keys and values, the same tokens give finite values";
  const why = fresh
    ? "not an update, which there was none of, but the size of the activations is to blame"
    : tooFar;
  return `${inWords(adapted)} with the adapter; ${why}`;
}

/** The first value that is not finite in what a part of the model gives. */
interface Place {
  readonly part: ModelPart;
  readonly token: number;
  readonly value: number;
}

function inWords({ part, token, value }: Place): string {
  return `${typeof part === "number" ? `layer ${part}` : part} gives ${value} for token ${token} of those read`;
}

async function firstPlace(task: Task, model: Llama, ids: Int32Array, pass: Pass): Promise<Place | null> {
  const total = (x: Tensor): Promise<number> => task.run(sum, { x: task.alias(x, [x.length]) }, {}).y.item();
  const totals = await Promise.all(walk(task, model, ids, pass, total));
  for (const [suspect, value] of totals.entries()) {
    if (finite(value)) continue; // else the values themselves: a sum may overflow
    const look = async (x: Tensor, part: ModelPart, from: number, index: number): Promise<Place | null> =>
      index === suspect ? placeIn(x, part, from) : null;
    const places = await Promise.all(walk(task, model, ids, pass, look));
    const place = places.find((found) => found !== null);
    if (place) return place;
  }
  return null;
}

/** What `read` makes of the output of each part in order, whose first row is that of token `from`. It must issue its reads at once. */
function walk<T>(
  task: Task,
  model: Llama,
  ids: Int32Array,
  pass: Pass,
  read: (x: Tensor, part: ModelPart, from: number, index: number) => T,
): T[] {
  using _scope = task.scope();
  const made: T[] = [];
  const watch = (x: Tensor, part: ModelPart, from = 0): void => {
    made.push(read(x, part, from, made.length));
  };
  const hidden = model.forward(model.ids(task, ids), { ...pass, watch });
  for (let from = 0; from < ids.length; from += BLOCK_ROWS) {
    using _block = task.scope();
    const block = rows(hidden, { from, to: Math.min(ids.length, from + BLOCK_ROWS) });
    // without a cap, which would hide an infinity
    watch(linear(block, model.weights.lm_head, { scale: model.config.logits_multiplier }), "lm_head", from);
  }
  return made;
}
/** Of logits at a time. */
const BLOCK_ROWS = 128;

async function placeIn(x: Tensor, part: ModelPart, from: number): Promise<Place | null> {
  const values = await x.data();
  const i = values.findIndex((value) => !finite(value));
  return i < 0 ? null : { part, token: from + Math.floor(i / at(x.shape, 1)), value: at(values, i) };
}

/** The first parameter of an adapter that is not finite, in words, and whether all but A are still 0. */
async function parametersOf({ parameters }: Learnable): Promise<{ broken: string | null; fresh: boolean }> {
  let fresh = true;
  for (const { name } of parameters.specs) {
    const values = await parameters.get(name).data();
    const value = values.find((x) => !finite(x));
    if (value !== undefined) return { broken: `${name} holds ${value}`, fresh: false };
    if (!name.endsWith(".A")) fresh &&= values.every((x) => x === 0);
  }
  return { broken: null, fresh };
}
