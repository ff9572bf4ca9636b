/**
 * How a fresh LoRA's A begins (`init` of a recipe), where not as peft's: with rows along the directions that its weight amplifies most (those of
 * PiSSA, https://arxiv.org/abs/2404.02948, but the weight stays whole), or along those of what the layer reads in the first chunk
 * (EVA, https://arxiv.org/abs/2410.07170), as long as peft's rows are. B is 0, so that the model is what it was.
 */
import { Purpose, stream, uniforms } from "../engine/random.ts";
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { at } from "../kernels/base/at.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import type { Llama } from "../model/llama.ts";
import type { Sequence } from "./chunks.ts";
import type { Init } from "./config.ts";
import { directions } from "./directions.ts";
import type { Learnable } from "./learnable.ts";

/** Tokens whose inputs are looked at, at most: the newest of the chunk. */
const TOKENS = 256;

/** Sets the A of each layer; where there are fewer directions than rows, the last rows stay peft's. `sequence`: the first chunk. */
export async function begin(
  task: Task,
  model: Llama,
  { parameters }: Learnable,
  init: Exclude<Init, "peft">,
  seed: number,
  sequence: Sequence,
): Promise<void> {
  const read = init === "input" ? await inputsOf(task, model, sequence) : null;
  const known = new Map<Float32Array, readonly Float64Array[]>(); // layers that read the same begin alike
  for (const { name, shape } of parameters.specs) {
    const place = /^layers\.(\d+)\.(\w+)\.A$/.exec(name);
    if (!place) continue;
    const [layer, target] = [Number(place[1]), place[2] as LinearName];
    const [rank, K] = [at(shape, 0), at(shape, 1)];
    using _scope = task.scope();
    const inputs = read?.get(`${layer}.${target}`);
    const w = inputs ? task.tensor(inputs, [inputs.length / K, K]) : at(model.weights.layers, layer)[target];
    const before = inputs && known.get(inputs);
    const found = before ?? (await directions(task, w, rank, randomOf(seed, layer, target)));
    if (inputs) known.set(inputs, found);
    const values = await parameters.get(name).data();
    // as long as a row of numbers that are uniform in ±1/√K is on average
    found.forEach((row, i) =>
      values.set(
        row.map((x) => x / Math.sqrt(3)),
        i * K,
      ),
    );
    parameters.set(name, values);
  }
}

/** Spread around 0; peft's values are those of step 0. */
function randomOf(seed: number, layer: number, target: LinearName): (count: number) => Float64Array {
  const place = stream(Purpose.init, layer * linearNames.length + linearNames.indexOf(target));
  return (count) => uniforms(seed, place, 1, count).map((u) => u - 0.5);
}

/** What each linear layer reads [tokens · K] in the newest tokens of a sequence, by layer and name, on the host. */
async function inputsOf(
  task: Task,
  model: Llama,
  { inputs }: Sequence,
): Promise<ReadonlyMap<string, Float32Array>> {
  using _scope = task.scope();
  const reads = new Map<Tensor, Promise<Float32Array>>();
  const found: [string, Promise<Float32Array>][] = [];
  const linears = (layer: number, name: LinearName, x: Tensor): void => {
    const read = reads.get(x) ?? x.data();
    reads.set(x, read);
    found.push([`${layer}.${name}`, read]);
  };
  model.forward(model.ids(task, inputs.subarray(-TOKENS)), { linears });
  return new Map(await Promise.all(found.map(async ([name, read]) => [name, await read] as const)));
}
