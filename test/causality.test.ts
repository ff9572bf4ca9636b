/** No score depends on what comes later: under every recipe, every dial and both schedules, on each device; and the check can fail. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Flip, type Score, checkCausality, compared } from "../templora/causality.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { loadModel } from "../templora/index.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("causality");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const ids = Int32Array.from({ length: 60 }, (_, t) => (t * 29 + (t >> 3) * 5) % 256);
const places = [59, 41, 24, 7];
process.env["TEMPLORA_CACHE"] = temporaryFolder();

async function flips(...given: Parameters<typeof checkCausality>): Promise<Flip[]> {
  const found: Flip[] = [];
  for await (const flip of checkCausality(...given)) found.push(flip);
  return found;
}

test("what is compared: both models' scores before the place, to the bit", () => {
  const scores = (...values: number[]): Score[] =>
    values.map((value, i) => ({ model: i % 2 ? "lora" : "base", position: 1 + (i >> 1), value }));
  const was = scores(1, 1, 2, 2, 3, 3);
  assert.equal(compared(2, was, scores(1, 1, 2.5, 2, 3, 4)), {
    position: 2,
    compared: 2,
    moved: [],
    after: 2,
  });
  const least = 1 + Number.EPSILON;
  const moved = [{ model: "lora", position: 1, was: 1, is: least }];
  assert.equal(compared(2, was, scores(1, least, 2, 2)), { position: 2, compared: 2, moved, after: 0 });
});

const small = { rank: 4, alpha: 4, lr: 2e-2, warmup: 0 };
const cases: readonly GivenOptions[] = [
  ...Object.values(recipes).map((recipe: Recipe) => ({ recipe: { ...recipe, ...small } })),
  { recipe: { ...small, dropout: 0 } },
  { recipe: { ...small, dropout: 0, step_tokens: 5, epochs: 1 } },
  { recipe: { ...small, layers: 1 } },
  { recipe: { ...small, learn_below: 0.01 } },
  { recipe: { ...small, adapt: "full" }, reuseCache: 2 },
  { recipe: { ...small, adapt: "norms", context_grad: false }, reuseCache: 2 },
  { recipe: { ...small, lr: 0.2, epochs: 2, guard: 1 }, reuseCache: 2 },
  { recipe: { ...small, kl: 0.5, replay: 12, ema: 0.5, init: "input" }, reuseCache: 2 },
  { recipe: { ...small, context_loss: true, context_grad: true, skip_below: 5, init: "weight", dropout: 0 } },
  { recipe: { ...small, context_grad: false }, reuseCache: 2 },
  { recipe: { ...small, context_grad: false, step_tokens: 5 }, reuseCache: 2 },
  { recipe: small, trainWindow: 8 },
  { recipe: small, window: 0 },
  { recipe: small, knn: 0.3, knnTokens: 24 },
];
const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

for (const { name, device } of devices)
  for (const options of cases)
    for (const schedule of device.info.kind === "cpu"
      ? (["cascaded", "parallel"] as const)
      : (["cascaded"] as const))
      test(`${name}, ${schedule}: ${JSON.stringify(options)}`, async () => {
        using model = await loadModel(device, tiny);
        const found = await flips(model, ids, places, { chunk: 16, window: 20, schedule, ...options });
        assert.equal(
          found.map(({ position, compared, moved }) => ({ position, compared, moved })),
          places.map((position) => {
            const before = Array.from({ length: position - 1 }, (_, i) => i + 1);
            const scored = before.filter((token) => options.window !== 0 || token % 16 > 0); // none begins a chunk
            return { position, compared: 2 * scored.length, moved: [] };
          }),
        );
        for (const { position, after } of found) assert.ok(after >= 2, `${position}: ${after}`); // its own scores are others
      });

test("a place outside of the text is refused", async () => {
  const [cpu] = devices;
  if (!cpu) throw new Error("there is always a cpu");
  using model = await loadModel(cpu.device, tiny);
  for (const place of [0, 60, 1.5])
    await flips(model, ids, [place]).then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, /^position: expected a whole number/),
    );
});

test("templora check-causality says what it compared", async () => {
  const text = join(temporaryFolder(), "text.txt");
  writeFileSync(text, "It was a dark night, and the sea was darker still. ".repeat(20));
  const flags =
    "--device cpu --threads 1 --chunk 16 --window 16 --rank 4 --lr 0.02 --warmup 0 --max-tokens 60 --flips 3";
  const command = ["check-causality", text, "--model", tiny, ...flags.split(" ")];
  const shown = await templora(command);
  assert.is(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /^token changed +scores before it +moved +moved from it on\n59 +116 +0 +2\n/);
  const lines = jsonLines((await templora([...command, "--json", "-", "--quiet"])).stdout);
  assert.equal(
    lines.map(({ type }) => type),
    ["config", "flip", "flip", "flip", "summary"],
  );
  assert.equal(lines.at(-1), { type: "summary", text, flips: 3, moved: 0 });
  const over = await templora([...command, "--json", text]);
  assert.match(over.stderr, /--json would change what text reads/);
  assert.is(over.code, 2);
  const nothing = await templora([...command, "--max-tokens", "2"]);
  assert.match(nothing.stderr, /nothing is scored before the token that was changed/);
  assert.is(nothing.code, 2);
  const wrong = await templora(["check-causality", text, "--model", tiny, "--flips", "0"]);
  assert.is(wrong.code, 2);
  assert.match(wrong.stderr, /--flips/);
});

test.run();
