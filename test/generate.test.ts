/**
 * Writing: incremental decoding against the full forward, updates while writing, what the cache may keep, determinism,
 * sampling, and flat memory.
 */
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Tensor } from "../engine/tensor.ts";
import { openModelFiles } from "../model/model_files.ts";
import { KVCache } from "../model/kv_cache.ts";
import { type LinearAdapter, Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { draw } from "../model/sample.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { type GenerateOptions, generate } from "../templora/api.ts";
import type { ChunkRecord } from "../templora/records.ts";
import type { Keeper, Kept } from "../templora/keeping.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const greedy = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0, lr: 2e-2, warmup: 0 };
const options: GenerateOptions = {
  chunk: 16,
  window: 24,
  trainWindow: 24,
  recipe,
  seed: 11,
  templora: true,
  tokens: 40,
  reuseCache: 0,
  sampling: greedy,
  stopIds: [],
  banIds: [],
};
const prompt = Int32Array.of(40, 77, 12, 90, 200, 31);
const keeper = (parts: Partial<Keeper>): Keeper => ({
  earlier: null,
  point: () => Promise.resolve(),
  stop: () => Promise.resolve(),
  ...parts,
});
const untimed = ({ seconds: _, ...record }: ChunkRecord): object => record;

for (const { name, device } of await openTestDevices()) {
  const task = new Task(device);
  const modelFiles = await openModelFiles(tiny);
  const model = await Llama.load(device, modelFiles);
  await modelFiles.close();

  const write = async (
    changes: Partial<GenerateOptions> = {},
    from: Int32Array = prompt,
  ): Promise<{ ids: number[]; records: ChunkRecord[] }> => {
    const ids: number[] = [];
    const records: ChunkRecord[] = [];
    for await (const event of generate(model, from, { ...options, ...changes })) {
      if (event.type === "token") ids.push(event.id);
      else records.push(event.record);
    }
    return { ids, records };
  };

  /** What a run keeps when it is stopped after `stop` tokens and records. */
  const keptAfter = async (
    stop: number,
    changes: Partial<GenerateOptions> = {},
    from: Int32Array = prompt,
  ): Promise<Kept> => {
    const controller = new AbortController();
    let kept: Kept | null = null;
    const keeping = keeper({ stop: async (take) => void (kept = await take()) });
    if (stop === 0) controller.abort();
    const interrupted = { ...options, ...changes, signal: controller.signal, keeper: keeping };
    for await (const _ of generate(model, from, interrupted)) if (--stop === 0) controller.abort();
    assert.ok(kept, "a state is kept");
    return kept;
  };

  test(`${name}: incremental decoding equals the full forward, token by token`, async () => {
    const ids = Int32Array.from({ length: 30 }, (_, i) => (i * 53) % 256);
    using _scope = task.scope();
    const full = await model.logits(model.forward(model.ids(task, ids))).data();
    const V = model.config.vocab_size;
    const cache = new KVCache(device, model.config, 32);
    // In pieces: a prefill, single tokens, and a piece of several.
    for (const [from, to] of [
      [0, 9],
      [9, 10],
      [10, 11],
      [11, 20],
      [20, 21],
      [21, 30],
    ] as const) {
      const got = await model
        .logits(model.forward(model.ids(task, ids.subarray(from, to)), { cache }))
        .data();
      const error = relativeError(got, full.subarray(from * V, to * V));
      assert.ok(error < 1e-5, `tokens ${from}–${to}: ${error}`);
    }
    cache.dispose();
  });

  test(`${name}: stale keys are an error, unless the cache was made to outlive updates`, () => {
    using _scope = task.scope();
    const linear: LinearAdapter["linear"] = (_layer, _name, w) => ({ w, lora: null });
    const ids = Int32Array.of(1, 2, 3);
    for (const outlivesUpdates of [false, true]) {
      const cache = new KVCache(device, model.config, 8, { outlivesUpdates });
      model.forward(model.ids(task, ids), { cache, adapter: { revision: 4, linear } });
      const later = (): Tensor =>
        model.forward(model.ids(task, ids), { cache, adapter: { revision: 5, linear } });
      if (outlivesUpdates) later();
      else assert.throws(later, /adapter revision 4/);
      cache.clear();
      later();
      cache.dispose();
    }
  });

  test(`${name}: --no-templora --temperature 0 is plain greedy decoding, token for token`, async () => {
    const plain = [...prompt];
    while (plain.length < prompt.length + 40) {
      using _scope = task.scope();
      const hidden = model.forward(model.ids(task, Int32Array.from(plain)), { from: plain.length - 1 });
      const logits = await model.logits(hidden).data();
      plain.push(logits.indexOf(Math.max(...logits)));
    }
    const { ids, records } = await write({ templora: false, window: 64 });
    assert.equal(ids, plain.slice(prompt.length));
    assert.is(records.length, 0);
  });

  test(`${name}: writing crosses updates, and they change what is written`, async () => {
    const { ids, records } = await write();
    assert.is(ids.length, 40);
    assert.equal(
      records.map((r) => r.start),
      [0, 16],
    );
    assert.ok(records.every((r) => r.train_loss.length === 2 && r.train_loss.every(Number.isFinite)));
    const frozen = await write({ templora: false });
    assert.equal(ids.slice(0, 10), frozen.ids.slice(0, 10), "the first chunk is written by the base model");
    assert.not.equal(ids, frozen.ids);
  });

  test(`${name}: a text's tokens come with what they complete, ids without; a record comes alone`, async () => {
    const collect = async (
      from: string | Int32Array,
    ): Promise<{ ids: number[]; text: string; keys: string[] }> => {
      const found = { ids: [] as number[], text: "", keys: [] as string[] };
      for await (const event of generate(model, from, options)) {
        if (event.type === "chunk") found.keys.push(Object.keys(event).join());
        else {
          found.ids.push(event.id);
          found.text += event.text;
        }
      }
      return found;
    };
    const words = "Call me Ishmael.";
    const written = await collect(words);
    const whole = model.tokenizer.stream({ continued: true });
    assert.is(written.text, written.ids.map((id) => whole.push(id)).join(""));
    assert.ok(written.text.length > 0);
    assert.equal(new Set(written.keys), new Set(["type,record"]));
    const silent = await collect(Int32Array.from(model.tokenizer.encode(words)));
    assert.equal([silent.ids, silent.text], [written.ids, ""]);
  });

  test(`${name}: a sentencepiece model's first token keeps its space behind a prompt`, async () => {
    const folder = temporaryFolder();
    cpSync(tiny, folder, { recursive: true });
    rmSync(join(folder, "tokenizer_config.json"));
    const tokens = ["▁", "7", ...Array.from({ length: 286 }, (_, i) => `▁${i}`)];
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
    const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
    const json = { model: { type: "BPE", vocab, merges: [] }, pre_tokenizer: metaspace, decoder: metaspace };
    writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(json));
    using words = await loadModel(device, folder);
    const choices = { ...options, templora: false, tokens: 3, banIds: [0, 1] };
    const written: [string, string | undefined][] = [];
    for await (const event of generate(words, "7", choices))
      if (event.type === "token") written.push([event.text, tokens[event.id]?.replace("▁", " ")]);
    assert.is(written.length, 3);
    for (const [text, want] of written) assert.is(text, want);
  });

  test(`${name}: a prompt longer than a chunk is learnt before the first token is written`, async () => {
    const long = Int32Array.from({ length: 50 }, (_, i) => (i * 29) % 256);
    const { records } = await write({ tokens: 4 }, long);
    assert.equal(
      records.map((r) => [r.start, r.tokens, r.context]),
      [
        [0, 15, 0],
        [16, 16, 16],
        [32, 16, 24],
      ],
    );
  });

  test(`${name}: reusing the cache across updates changes the text`, async () => {
    const [fresh, reused] = [await write({ tokens: 60 }), await write({ tokens: 60, reuseCache: 2 })];
    assert.equal(reused.ids.slice(0, 10), fresh.ids.slice(0, 10));
    assert.is(reused.ids.length, 60);
    assert.equal((await write({ tokens: 60, reuseCache: 2 })).ids, reused.ids);
  });

  test(`${name}: the same seed gives the same text, sampled or not; another seed another text`, async () => {
    const sampling = { temperature: 1.2, top_k: 40, top_p: 0.95, min_p: 0.01, repetition_penalty: 1.12 };
    const first = await write({ sampling });
    assert.equal((await write({ sampling })).ids, first.ids);
    assert.not.equal((await write({ sampling, seed: 12 })).ids, first.ids);
    const all = await write({ sampling: { ...sampling, top_k: 0 } });
    assert.is(all.ids.length, 40);
  });

  test(`${name}: interrupted anywhere, then resumed, gives the bits of an uninterrupted run`, async () => {
    const sampling = { temperature: 1.2, top_k: 40, top_p: 0.95, min_p: 0.01, repetition_penalty: 1.12 };
    const long = Int32Array.from({ length: 50 }, (_, i) => (i * 29) % 256);
    const kinds: readonly [
      what: string,
      changes: Partial<GenerateOptions>,
      from: Int32Array,
      stops: number[],
    ][] = [
      ["greedy", {}, prompt, [0, 5, 11, 20, 41]],
      ["sampled, with dropout", { sampling, recipe: { ...recipe, dropout: 0.1 } }, prompt, [20]],
      ["while the prompt is read", { tokens: 20 }, long, [2]],
      ["cache reused", { tokens: 80, reuseCache: 2 }, prompt, [40, 70]],
      ["base model, past the cache", { templora: false, tokens: 60, sampling }, prompt, [50]],
    ];
    for (const [what, changes, from, stops] of kinds) {
      const whole = await write(changes, from);
      for (const stop of stops) {
        const earlier = await keptAfter(stop, changes, from);
        const { ids, records } = await write({ ...changes, keeper: keeper({ earlier }) }, from);
        const of = `${what}, stopped after ${stop} of what is yielded`;
        assert.equal([...earlier.snapshot.ids.subarray(from.length), ...ids], whole.ids, of);
        assert.equal([...earlier.records, ...records].map(untimed), whole.records.map(untimed), of);
      }
    }
    const { records, snapshot } = await keptAfter(30);
    assert.is(records.length + snapshot.ids.length - prompt.length, 30, "nothing that was yielded is lost");
  });

  test(`${name}: banned tokens are not written, stop tokens end the text`, async () => {
    const { ids } = await write({ templora: false });
    const [first = 0] = ids;
    assert.not.ok((await write({ templora: false, banIds: [first] })).ids.includes(first));
    assert.equal((await write({ templora: false, stopIds: [first] })).ids, []);
  });

  test(`${name}: a repetition penalty touches every token seen`, async () => {
    const heavy = await write({ templora: false, sampling: { ...greedy, repetition_penalty: 1e9 } });
    assert.is(
      new Set([...prompt, ...heavy.ids]).size,
      prompt.length + heavy.ids.length,
      "nothing is repeated",
    );
  });

  test(`${name}: an empty prompt, a window without positions, and no whole number of tokens are bad input`, async () => {
    for (const { from = prompt, ...bad } of [
      { from: new Int32Array() },
      { window: 1 << 20 },
      { tokens: 1.5 },
      { tokens: -1 },
    ]) {
      let error: unknown;
      await write(bad, from).catch((e: unknown) => (error = e));
      assert.instance(error, BadInputError);
    }
  });

  test(`${name}: memory is flat over many updates, and a decoded token makes no pipeline, buffer or bind group`, async () => {
    const live = device.stats().liveBuffers;
    const bytes: number[] = [];
    let before = device.stats();
    let tokens = 0;
    for await (const event of generate(model, prompt, { ...options, tokens: 200 })) {
      const now = device.stats();
      if (event.type === "chunk") {
        bytes.push(now.liveBytes);
        tokens = 0;
      } else if (++tokens > 2 && bytes.length >= 3) {
        // From chunk 3 on, and past the first tokens after an update, which read the context anew.
        assert.is(now.pipelines, before.pipelines, "pipelines");
        assert.is(now.allocations, before.allocations, "buffers");
        assert.is(now.bindGroups, before.bindGroups, "bind groups");
      }
      before = now;
    }
    assert.is(bytes.length, 12);
    assert.is(new Set(bytes.slice(3)).size, 1, `live bytes after each update: ${bytes.join(" ")}`);
    assert.is(device.stats().liveBuffers, live);
  });

  test.after(async () => {
    model.dispose();
    await device.close();
  });
}

test("draw follows the weights, and the cuts keep at least one candidate", () => {
  const candidates = [3, 2, 1, 0].map((logit, id) => ({ id, logit }));
  const open = { ...greedy, temperature: 1 };
  const total = [3, 2, 1, 0].reduce((sum, l) => sum + Math.exp(l), 0);
  assert.is(draw(candidates, open, 0), 0);
  assert.is(draw(candidates, open, Math.exp(3) / total - 1e-9), 0);
  assert.is(draw(candidates, open, Math.exp(3) / total + 1e-9), 1);
  assert.is(draw(candidates, open, 1 - 1e-9), 3);
  assert.is(draw(candidates, { ...open, top_p: 1e-6 }, 0.999), 0);
  assert.is(draw(candidates, { ...open, min_p: 0.2 }, 0.999), 1);
});

test.run();
