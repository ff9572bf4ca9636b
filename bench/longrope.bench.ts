/**
 * Searches LongRoPE's divisors for a model (arXiv 2402.13753, section 3.2 and algorithm 1), for `--extend longrope:FILE`: those with the
 * least perplexity on a text, read in stretches as long as the model's positions stretched. The first candidates are what linear, ntk,
 * yarn and llama3 make of the frequencies; then the best ones are changed at random and mixed. Slower frequencies never get smaller
 * divisors. The same seed gives the same divisors on the same machine.
 *
 *     tsx bench/longrope.bench.ts MODEL BOOK.txt --factor 2 --out divisors.json [--tokens 4096] [--generations 40] [--seed 0] [--record]
 */
import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { openDevice } from "../engine/index.ts";
import { stream, uniforms, Purpose } from "../engine/random.ts";
import { at } from "../kernels/base/at.ts";
import { type ByDivisors, type ExtensionMethod, extended } from "../model/extend.ts";
import { openModelFiles } from "../model/model_files.ts";
import { ropeFrequencies } from "../model/rope.ts";
import { readText as readFile } from "../model/text.ts";
import { loadModel, readText } from "../templora/index.ts";
import { writeRecord } from "./record.ts";

/** As many in each generation; the better half begets the next: half of that by change, half by mixing two. */
const POPULATION = 16;
/** The share of divisors that one change touches; each goes up or down by half of factor - 1 at most. */
const CHANGED = 0.3;
/** Divisors are multiples of it. */
const STEP = 0.01;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    factor: { type: "string", default: "2" },
    out: { type: "string" },
    tokens: { type: "string", default: "4096" },
    generations: { type: "string", default: "40" },
    seed: { type: "string", default: "0" },
    record: { type: "boolean", default: false },
  },
});
const [path, book] = positionals;
if (path === undefined || book === undefined || values.out === undefined)
  throw new Error("expected a model, a text and --out FILE");
const [factor, seed] = [Number(values.factor), Number(values.seed)];

const device = await openDevice("cpu", {});
const config = await (async () => {
  await using files = await openModelFiles(path);
  return files.config;
})();
const positions = Math.floor(factor * config.max_position_embeddings);
let tokens: Int32Array | undefined;

type Divisors = readonly number[];

/** Nats a token. */
async function lossOf(long_factor: Divisors): Promise<number> {
  const extend: ByDivisors = { method: "longrope", factor, short_factor: long_factor.map(() => 1), long_factor }; // prettier-ignore
  using model = await loadModel(device, String(path), { extend, positions });
  tokens ??= Int32Array.from(model.tokenizer.encode(await readFile(String(book)))).slice(
    0,
    Number(values.tokens),
  );
  let [nll, scored] = [0, 0];
  for await (const chunk of readText(model, tokens, { chunk: positions, window: 0, templora: false })) {
    nll += chunk.base_nll ?? NaN;
    scored += chunk.tokens;
  }
  return nll / scored;
}

const rope = config.layers.find((layer) => layer.rope !== null)?.rope;
if (!rope) throw new Error(`${path}: no layer has RoPE`);
const own = ropeFrequencies({ ...rope, rope_scaling: null });
const MOST = 1.25 * factor;

/** On the grid, within the range, and never smaller than the one before. */
function sensible(divisors: Divisors): Divisors {
  let least = 1;
  return divisors.map((x) => (least = Math.min(MOST, Math.max(least, STEP * Math.round(x / STEP)))));
}

function begun(method: ExtensionMethod): Divisors {
  const stretched = extended(config, { method, factor }).layers.find((layer) => layer.rope !== null)?.rope;
  if (!stretched) throw new Error(`${path}: no layer has RoPE`);
  return sensible([...ropeFrequencies(stretched)].map((x, i) => at(own, i) / x));
}

const known = new Map<string, number>();
async function scored(population: readonly Divisors[]): Promise<Divisors[]> {
  for (const one of population) {
    const key = String(one);
    if (!known.has(key)) known.set(key, await lossOf(one));
  }
  const loss = (one: Divisors): number => known.get(String(one)) ?? NaN;
  return [...new Map(population.map((one) => [String(one), one])).values()].toSorted(
    (a, b) => loss(a) - loss(b),
  );
}

let drawn = 0;
const draws = (count: number): number[] => [
  ...uniforms(seed, stream(Purpose.sampling, 0), drawn++, count + 1),
];
const changed = (one: Divisors): Divisors => {
  const [which, by] = [draws(one.length), draws(one.length)];
  return sensible(one.map((x, i) => (at(which, i) < CHANGED ? x + (factor - 1) * (at(by, i) - 0.5) : x)));
};
const mixed = (a: Divisors, b: Divisors): Divisors => {
  const which = draws(a.length);
  return sensible(a.map((x, i) => (at(which, i) < 0.5 ? x : at(b, i))));
};
const anyOf = (population: readonly Divisors[]): Divisors =>
  at(population, Math.floor(at(draws(1), 0) * population.length));

const methods = ["linear", "ntk", "yarn", "llama3"] as const;
const first = methods.map(begun);
let population = await scored([
  ...first,
  ...Array.from({ length: POPULATION - first.length }, (_, i) => changed(at(first, i % first.length))),
]);
const ppl = (one: Divisors): number => Math.exp(known.get(String(one)) ?? NaN);
for (const [i, method] of methods.entries()) console.log(`${method}: ${ppl(at(first, i)).toFixed(3)}`);
for (let generation = 1; generation <= Number(values.generations); generation++) {
  const parents = population.slice(0, POPULATION / 2);
  population = await scored([
    ...parents,
    ...Array.from({ length: POPULATION / 4 }, () => changed(anyOf(parents))),
    ...Array.from({ length: POPULATION / 4 }, () => mixed(anyOf(parents), anyOf(parents))),
  ]);
  console.log(`generation ${generation}: ${ppl(at(population, 0)).toFixed(3)}`);
}
await device.close();

const long_factor = at(population, 0).map((x) => Number(x.toFixed(2)));
const found = { factor, short_factor: long_factor.map(() => 1), long_factor };
writeFileSync(values.out, `${JSON.stringify(found)}\n`);
const facts = { model: basename(path), text: basename(book), positions, seed };
const rows = [
  ...methods.map((method, i) => ({ method, base_ppl: ppl(at(first, i)), divisors: at(first, i) })),
  { method: "searched", base_ppl: ppl(at(population, 0)), divisors: long_factor, candidates: known.size },
];
if (values.record) console.log(await writeRecord("longrope", facts, rows));
