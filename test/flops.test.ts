/**
 * What kernels declare as their arithmetic, added up over a chunk of Temp-LoRA, against a count by hand: for every family, in a
 * size that a real model has. On a device that computes nothing.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CountingDevice } from "../engine/backends/counting.ts";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { elements } from "../kernels/base/shape.ts";
import type { ModelConfig } from "../model/config.ts";
import { tensorsOf } from "../model/family.ts";
import { Llama } from "../model/llama.ts";
import { openModelFiles } from "../model/model_files.ts";
import { type Attention, withAttention } from "../model/reach.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { Session } from "../templora/session.ts";
import { goldenFolder } from "./support/golden.ts";

const [chunk, window, rank] = [256, 512, 16];
const pathOf = (name: string): string => fileURLToPath(new URL(`families/${name}`, goldenFolder));

/** A tiny model's configuration with the sizes of one of some billion parameters. */
const large = ({ longer: _, ...config }: ModelConfig): ModelConfig => ({
  ...config,
  ...{ hidden_size: 2048, intermediate_size: 8192, vocab_size: 32_000 },
  ...{ num_attention_heads: 128, num_key_value_heads: 32 },
  max_position_embeddings: 4096,
});

interface Work {
  /** Tokens before those that are scored or learnt, and how many these are. */
  readonly before: number;
  readonly tokens: number;
  /** The first layer that is adapted. */
  readonly lowest: number;
  readonly adapt: Recipe["adapt"];
  /** Whether a norm stands before the first linear layers of a block. */
  readonly before_norm: boolean;
}

/** Multiplications and additions of a pass over tokens with others before them: the base's, the adapted one's, and one step of training. */
function byHand(
  config: ModelConfig,
  { before, tokens, lowest, adapt, before_norm }: Work,
): { base: number; score: number; train: number } {
  const { hidden_size: D, intermediate_size: F, head_dim: E, vocab_size: V, layers } = config;
  const [q, kv] = [config.num_attention_heads * E, config.num_key_value_heads * E];
  const T = before + tokens - 1; // the last token predicts nothing
  const linears = { q: [D, q], k: [D, kv], v: [D, kv], o: [q, D], gate: [D, F], up: [D, F], down: [F, D] };
  const count = { base: 0, score: 0, train: 0 };
  for (const [i, layer] of layers.entries()) {
    const last = i === layers.length - 1;
    const queries = last ? tokens : T; // of the last layer's context only keys and values are wanted
    for (const [name, [input = 0, output = 0]] of Object.entries(linears)) {
      const rows = name === "k" || name === "v" ? T : queries;
      const [whole, low] = [2 * rows * input * output, 2 * rows * rank * (input + output)];
      const beside = { lora: low, full: whole, norms: 0 }[adapt];
      count.base += whole;
      count.score += whole + (i < lowest ? 0 : beside);
      if (i < lowest) continue;
      // to its input, unless that depends on nothing that is learnt; what is beside it; and to A's input, or through all of D
      const first = i === lowest && ["q", "k", "v"].includes(name);
      const below = !first || (adapt === "norms" && before_norm);
      const through = {
        lora: 2 * rows * rank * (output + (below ? input : 0)),
        full: below ? whole : 0,
        norms: 0,
      }[adapt];
      count.train += (below ? whole : 0) + beside + through;
    }
    let pairs = 0;
    for (let at = T - queries; at < T; at++) {
      pairs += layer.window > 0 ? Math.min(layer.window, at + 1) : at + 1;
      if (layer.far) pairs += Math.max(0, Math.min(layer.far.keys ?? T, at + 1 - layer.window));
    }
    const product = 2 * pairs * q;
    count.base += 2 * product;
    count.score += 2 * product;
    if (i >= lowest) count.train += 5 * product;
  }
  const logits = 2 * tokens * D * V;
  return { base: count.base + logits, score: count.score + logits, train: count.train + logits };
}

type Dials = Partial<Pick<Recipe, "adapt" | "layers" | "step_tokens" | "kl" | "replay">>;
const full: Attention = { method: "full" };
const cases: readonly (readonly [string, Attention, Dials?])[] = [
  ...readdirSync(pathOf(""))
    .sort()
    .map((name) => [name, full] as const),
  ["llama", { method: "streaming", sinks: 40, window: 100 }],
  ["llama", { method: "self-extend", group: 3, window: 100 }],
  ["llama", full, { layers: 1 }],
  ["llama", full, { step_tokens: 96 }],
  ["llama", full, { kl: 0.5 }],
  ["gemma2", full, { kl: 0.5, replay: 100, layers: 1 }],
  ["llama", full, { replay: 300 }],
  ...(["full", "norms"] as const).flatMap((adapt) =>
    [["gemma3_text"], ["olmo2"], ["llama", 2]].map(
      ([name, layers = 0]) => [String(name), full, { adapt, layers: Number(layers) }] as const,
    ),
  ),
];
for (const [name, attention, dials = {}] of cases)
  test(`${name}, ${attention.method} attention, ${JSON.stringify(dials)}: the arithmetic of a chunk is within 1 % of a count by hand`, async () => {
    await using cpu = await openCpu({ threads: 1 });
    await using device = new CountingDevice(cpu);
    await using files = await openModelFiles(pathOf(name));
    const config = withAttention(large(files.config), attention);
    const { layers, ...others } = tensorsOf(files.family, config);
    const specs = [...Object.values(others), ...layers.flatMap((layer) => Object.values(layer))];
    const tensors = new Map(
      specs.map(({ name, shape }) => [
        name,
        { name, dtype: "f32" as const, shape, bytes: 4 * elements(shape), inFile: name },
      ]),
    );
    using model = await Llama.unfilled(device, { ...files, config, tensors });
    const recipe: Recipe = { ...recipes.paper, rank, epochs: 1, dropout: 0.1, clip: 0, ...dials };
    const trainWindow = recipe.adapt === "lora" ? window : window - 1;
    using session = new Session(model, { chunk, window, trainWindow, recipe });
    session.prefill(new Int32Array(window + chunk));
    for (let at = 0; at < window; at += chunk) await session.learn();
    const { flops } = await session.learn();
    const { layers: adapted = 0, step_tokens: step = chunk, adapt = "lora", kl = 0, replay = 0 } = dials;
    const before_norm = files.family.norms.pre_attention_norm !== undefined;
    const lowest = adapted === 0 ? 0 : config.layers.length - adapted;
    const how = { lowest, adapt, before_norm };
    const hand = { ...byHand(config, { ...how, before: window, tokens: chunk }), train: 0 };
    for (let at = 0; at < chunk; at += step) {
      const { train, score } = byHand(config, {
        ...{ ...how, before: window + at },
        tokens: Math.min(step, chunk - at),
      });
      hand.train += train + score; // a LoRA's dropout, or another context: the step has a forward pass of its own
    }
    // a step's: what is replayed, and for each pass the frozen model's, with the adapted one's logits and their gradient once more
    const passes = [
      { before: window, tokens: chunk },
      ...(replay > 0 ? [{ before: 1, tokens: replay }] : []),
    ];
    for (const [i, pass] of passes.entries()) {
      const { base, score, train } = byHand(config, { ...how, ...pass });
      if (i > 0) hand.train += train + score;
      if (kl > 0) hand.train += base + 4 * pass.tokens * config.hidden_size * config.vocab_size;
    }
    const ratios = Object.entries(hand).map(([what, by]) => flops[what as keyof typeof flops] / by);
    for (const ratio of ratios) assert.ok(Math.abs(ratio - 1) < 0.01, ratios.join(", "));
  });

test.run();
