/** RoPE stretched beyond a model's positions, and a sliding window, against transformers (test/golden/make_extend.py), and what is refused. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ModelConfig, servingPositions } from "../model/config.ts";
import { ntkTheta, ropeFrequencies } from "../model/rope.ts";
import { describeFolder } from "../model/families/index.ts";
import { type ByDivisors, type Extension, extended, extensionMethods } from "../model/extend.ts";
import { loadModel, readText } from "../templora/index.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

interface Golden {
  readonly positions: number;
  readonly factor: number;
  readonly sliding: { readonly window: number; readonly losses: readonly number[] };
  /** In nats, of every token but the first. */
  readonly losses: Readonly<Record<Extension["method"], readonly number[]>>;
  readonly divisors: Pick<ByDivisors, "short_factor" | "long_factor">;
  /** The same by LongRoPE of the text's beginning, which the model's own positions hold. */
  readonly longrope_within: readonly number[];
}

const test = suite("extend");
const { positions, factor, sliding, losses, divisors, longrope_within } = readGolden<Golden>("extend.json");
const { tokens } = readGolden<{ readonly tokens: readonly number[] }>("tiny-tied/golden.json");
const ids = Int32Array.from(tokens);
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
process.env["TEMPLORA_CACHE"] = temporaryFolder();

/** tiny-tied, made for fewer positions than the text has. */
const short = join(temporaryFolder(), "short");
cpSync(pathOf("tiny-tied"), short, { recursive: true });
const configPath = join(short, "config.json");
const json = JSON.parse(readFileSync(configPath, "utf8")) as object;
writeFileSync(configPath, JSON.stringify({ ...json, max_position_embeddings: positions }));

const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

const longrope: ByDivisors = { method: "longrope", factor, ...divisors };
const extensions: readonly Extension[] = [
  ...extensionMethods.map((method) => ({ method, factor })),
  longrope,
];

for (const { name, device } of devices)
  for (const extend of extensions) {
    const expectLosses = async (text: Int32Array, losses: readonly number[]): Promise<void> => {
      const expected = losses.reduce((sum, loss) => sum + loss, 0);
      using model = await loadModel(device, short, { extend, positions: text.length });
      for await (const { base_nll } of readText(model, text, {
        ...{ chunk: text.length, window: 0, templora: false },
      }))
        assert.ok(Math.abs(Number(base_nll) / expected - 1) < 1e-5, `${base_nll}, expected ${expected}`);
    };
    test(`${name}: ${extend.method}, beyond the model's positions`, () =>
      expectLosses(ids, losses[extend.method]));
    if (extend.method === "longrope")
      test(`${name}: longrope has other divisors within the model's positions`, () =>
        expectLosses(ids.slice(0, positions), longrope_within));
  }

for (const { name, device } of devices)
  test(`${name}: a sliding window, at once and with a cache`, async () => {
    const { window, losses } = sliding;
    const total = losses.reduce((sum, loss) => sum + loss, 0);
    using model = await loadModel(device, pathOf("tiny-tied"), { attention: { method: "sliding", window } });
    for (const chunk of [ids.length, 1]) {
      let nll = 0;
      for await (const { base_nll } of readText(model, ids, {
        ...{ chunk, window: 3 * window, templora: false },
      }))
        nll += Number(base_nll);
      assert.ok(Math.abs(nll / total - 1) < 1e-5, `${nll}, expected ${total}`);
    }
  });

test("--extend reads what the model's positions do not hold, and its first record says how", async () => {
  const book = pathOf("moby-dick-excerpt.txt");
  const ppl = (...flags: string[]): ReturnType<typeof templora> =>
    templora(["ppl", book, "--model", short, "--device", "cpu", "--max-tokens", "200", ...flags]);
  const wide = ["--chunk", "60", "--window", "90", "--no-templora", "--json", "-"];
  const first = async (...flags: string[]): Promise<unknown[]> => {
    const [config, chunk] = jsonLines((await ppl(...wide, ...flags)).stdout);
    return [config?.["extend"], chunk?.["base_nll"]];
  };
  const nll = async (extend: Extension): Promise<unknown> => {
    const [cpu] = devices;
    if (!cpu) throw new Error("there is always a cpu");
    using model = await loadModel(cpu.device, short, { extend, positions: 150 });
    const text = Int32Array.from(model.tokenizer.encode(readFileSync(book, "utf8")).slice(0, 60));
    for await (const { base_nll } of readText(model, text, { chunk: 60, window: 90, templora: false }))
      return base_nll;
    return null;
  };
  for (const method of ["yarn", "dynamic-ntk"] as const) {
    const extend = { method, factor: 2.5 };
    assert.equal(await first("--extend", `${method}:2.5`), [extend, await nll(extend)]);
  }
  const [config, chunk] = jsonLines((await ppl(...wide, "--window", "4", "--attention", "sliding:9")).stdout);
  assert.equal([config?.["attention_window"], config?.["attention"]], [9, { method: "sliding", window: 9 }]);
  assert.not.equal(chunk?.["base_nll"], (await first("--window", "4"))[1]);
  assert.match((await ppl(...wide)).stderr, /--chunk 60 exceed the model's 64 positions/);
  assert.match((await ppl(...wide, "--extend", "ntk:2")).stderr, /exceed the model's 128 positions/);

  const list = join(temporaryFolder(), "divisors.json");
  const { method, ...own } = longrope;
  writeFileSync(list, JSON.stringify(own));
  assert.equal(await first("--extend", `longrope:${list}`), [
    { ...longrope, file: list },
    await nll(longrope),
  ]);
  const file = (content: string): string => {
    const path = join(temporaryFolder(), "divisors.json");
    writeFileSync(path, content);
    return `longrope:${path}`;
  };
  const changed = (changes: object): string => file(JSON.stringify({ ...own, ...changes }));
  const other = changed({ rope_type: method, attention_factor: 1 });
  const told = { ...longrope, attention_factor: 1, file: other.slice("longrope:".length) };
  assert.equal(await first("--extend", other), [told, await nll(told)]);
  for (const [given, message] of [
    ["longrope", /--extend longrope: expected a JSON file of divisors, such as longrope:divisors\.json/],
    ["longrope:no.json", /no\.json: no such file; check the path/],
    [`longrope:${temporaryFolder()}`, /this is a folder; a file is expected/],
    [file("{"), /divisors\.json: not valid JSON; is it complete\?/],
    [file("[]"), /divisors\.json: expected a JSON object/],
    [file(" ".repeat(2 ** 20 + 1)), /1048577 bytes; at most 1048576 are sensible here/],
    [changed({ rope_type: "yarn" }), /divisors\.json: rope_type is "yarn"; expected longrope/],
    ["longrope:/dev/zero", /a pipe or a device; a file is expected/],
    [changed({ factor: 0.5 }), /divisors\.json: factor 0\.5: expected a number, at least 1 and at most 1000/],
    [
      changed({ long_factor: [1, 1, 1, 1, 1, 1e300] }),
      /long_factor\[5\]: 1e\+300 is not within the range of float32/,
    ],
    [changed({ factor: "2" }), /divisors\.json: factor: expected a number above 0, got "2"/],
    [changed({ long_factor: [1] }), /divisors\.json: long_factor has 1 entries for 6 frequencies/],
    [
      changed({ short_factor: [1, 2, 3, 4, 5, -6] }),
      /divisors\.json: short_factor\[5\]: expected a number above 0/,
    ],
    [changed({ mscale: 2 }), /divisors\.json: mscale is 2, of which RoPE knows nothing/],
    ["yarn", /--extend yarn: expected a method and a factor, such as yarn:4/],
    ["yarn:2:3", /expected a method and a factor/],
    ["yarm:2", /--extend yarm: expected linear, ntk, dynamic-ntk, yarn, llama3, longrope/],
    ["ntk:0.5", /--extend ntk:0\.5: expected a number, at least 1 and at most 1000/],
  ] as const) {
    const { code, stderr } = await ppl("--extend", given);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

const configOf = (name: string, changes: object = {}): ModelConfig => {
  const text = readFileSync(join(pathOf(name), "config.json"), "utf8");
  return describeFolder({ ...(JSON.parse(text) as object), ...changes }).config;
};

test("a model whose RoPE is stretched as it is, is not stretched again", () => {
  for (const [name, type] of [
    ["families/phi3", "longrope"],
    ["families/gemma3_text", "linear"],
  ] as const)
    assert.throws(
      () => extended(configOf(name), { method: "yarn", factor: 2 }),
      new RegExp(`the model's RoPE is stretched as it is \\(${type}\\)`),
    );
});

test("layers with windows keep their RoPE where others see everything, and layers without RoPE have none", () => {
  const changed = (name: string, changes: object = {}): boolean[] => {
    const config = configOf(name, changes);
    const longer = extended(config, { method: "linear", factor: 2 });
    assert.is(longer.max_position_embeddings, 2 * config.max_position_embeddings);
    return longer.layers.map(({ rope }, i) => {
      assert.is(rope === null, config.layers[i]?.rope === null);
      return rope?.rope_scaling?.type === "linear";
    });
  };
  const local = { rope_theta: 1e4, rope_type: "default" };
  const rope_parameters = { full_attention: { ...local, rope_theta: 1e6 }, sliding_attention: local };
  assert.equal(changed("families/gemma3_text", { rope_parameters }), [false, false, true, false]);
  assert.equal(changed("families/smollm3"), [true, false, true, false]);
  assert.equal(new Set(changed("families/mistral")), new Set([true]));
});

test("yarn and llama3 are what a configuration that asks for them gives", () => {
  const scalings = ({ layers }: ModelConfig): unknown => layers.map(({ rope }) => rope?.rope_scaling);
  for (const [method, own] of [
    ["yarn", {}],
    ["llama3", { low_freq_factor: 1, high_freq_factor: 4 }],
  ] as const) {
    const asked = { rope_theta: 1e4, factor: 4, original_max_position_embeddings: 512 };
    const rope_scaling = { rope_type: method, ...asked, ...own };
    assert.equal(
      scalings(extended(configOf("tiny-tied"), { method, factor: 4 })),
      scalings(configOf("tiny-tied", { rope_scaling, max_position_embeddings: 2048 })),
    );
  }
});

test("yarn where even the slowest pair turns: transformers' formula in Python", () => {
  const rope_scaling = {
    ...{ type: "yarn" as const, factor: 4, original_max_position_embeddings: 131072, attention_factor: 1 },
    ...{ beta_fast: 32, beta_slow: 1, truncate: true },
  };
  const found = ropeFrequencies({ head_dim: 16, rope_theta: 1e4, rope_scaling });
  const frequencies = [
    ...[1, 0.31622776601683794, 0.1, 0.03162277660168379, 0.01, 0.003162277660168379],
    ...[0.0008125000000000001, 0.0001976423537605237],
  ];
  for (const [i, frequency] of frequencies.entries())
    assert.ok(Math.abs(Number(found[i]) / frequency - 1) < 1e-14, `${i}: ${found[i]}, not ${frequency}`);
});

test("positions are whole, dynamic-ntk begins beyond the model's own, and ntk goes by what turns of a head", () => {
  const config = configOf("tiny-tied");
  assert.is(extended(config, { method: "ntk", factor: 1.001 }).max_position_embeddings, 512);
  const frequencies = ({ layers }: ModelConfig): unknown =>
    layers.map(({ rope }) => rope && ropeFrequencies(rope));
  const dynamic = extended(config, { method: "dynamic-ntk", factor: 4 });
  for (const most of [1, 100, 512])
    assert.equal(frequencies(servingPositions(dynamic, most)), frequencies(config));
  assert.not.equal(frequencies(servingPositions(dynamic, 513)), frequencies(config));
  const partial = { head_dim: 16, rotary_dim: 8, rope_theta: 1e4, rope_scaling: null };
  assert.is(ntkTheta(partial, 4), 1e4 * 4 ** (8 / 6));
});

test.run();
