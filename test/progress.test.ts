/** How far an update beside the writer is, and how long a token waits for it. Nothing here changes what is written, only when. */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { observed } from "../engine/backends/observed.ts";
import { at } from "../kernels/base/at.ts";
import { Llama } from "../model/llama.ts";
import { openModelFiles } from "../model/model_files.ts";
import { sequence } from "../templora/chunks.ts";
import { recipes } from "../templora/config.ts";
import { type Lesson, LocalLearner } from "../templora/learner.ts";
import { Pace } from "../templora/pace.ts";
import { rehearsed } from "../templora/rehearsal.ts";
import { completeOptions } from "../templora/session_options.ts";
import { Timeline, nothingDone, shareOf, toldProgress } from "../templora/timeline.ts";
import { goldenFolder } from "./support/golden.ts";

const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));

test("how far an update is, is told by the time that its kernels took in the one before", async () => {
  const told = toldProgress();
  let threads = 1;
  const timeline = new Timeline(told, () => threads);
  /** What is told when each kernel has half its length behind it; the first length is of what comes before the first kernel. */
  const shares = async (kind: string, [first = 0, ...lengths]: readonly number[]): Promise<number[]> => {
    let time = 1000;
    const seen: number[] = [];
    const work = async (): Promise<void> => {
      time += first;
      for (const length of lengths) {
        timeline.tick();
        seen.push(shareOf(told, time + length / 2));
        time += length;
      }
      await Promise.resolve();
    };
    await timeline.measure(kind, work, () => time);
    return seen;
  };
  assert.not.ok(timeline.knows("a"));
  assert.equal(await shares("a", [2, 1, 2, 5]), [0, 0, 0], "nothing is known");
  assert.ok(timeline.knows("a"));
  assert.equal(await shares("a", [2, 1, 2, 5]), [0.25, 0.4, 0.75]);
  assert.equal(
    await shares("a", [0, 4, 8, 20]),
    [0.3, 0.5, 1],
    "twice as slow and more: at the end of the kernel",
  );
  assert.equal(await shares("a", [0, 4, 8, 20]), [2 / 32, 8 / 32, 22 / 32]);
  assert.equal(
    await shares("a", [0, 4, 8, 20, 1, 1]),
    [2 / 32, 8 / 32, 22 / 32, 1, 1],
    "more kernels than before",
  );
  assert.not.ok(timeline.knows("b"));
  assert.equal(await shares("b", [1, 1, 2]), [0, 0], "another kind");
  assert.equal(await shares("b", [1, 1, 2]), [0.375, 0.75]);
  threads = 2;
  assert.equal(await shares("b", [1, 1, 2]), [0.5, 1], "twice the threads: kernels take half the time");
  threads = 1;
  assert.equal(
    await shares("b", [1, 1, 2]),
    [0.25 + 1 / 16, 0.5 + 1 / 8],
    "and are known by the time of one thread",
  );
  nothingDone(told);
  assert.is(shareOf(told), 0);
});

test("no token waits longer for an update than tokens have taken of late", () => {
  const pace = new Pace();
  pace.begins(1000);
  assert.is(pace.patience(1010), 10, "the first");
  assert.is(pace.patience(1020), 10);
  assert.is(pace.patience(1046), 11, "a sixteenth of the latest");
  pace.begins(5000); // what lies between two updates counts for nothing
  assert.is(pace.patience(5011), 11);
  const slow = new Pace();
  slow.begins(0);
  let now = 10;
  for (let i = 0; i < 256; i++) now += 10 + slow.patience(now); // an update that never comes
  assert.ok(slow.patience(now) > 100, "whoever waits in vain waits longer and longer");
});

test("an update of a new kind is rehearsed, so that its progress is told from the first one on", async () => {
  await using device = await openCpu({ threads: 1 });
  await using files = await openModelFiles(tiny);
  const recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0, context_grad: false };
  const [chunk, window] = [8, 32];
  const given = { chunk, window, recipe, reuseCache: 1, schedule: "parallel", baseline: false } as const;
  const options = completeOptions(given, files.config);
  const told = toldProgress();
  const timeline = new Timeline(told);
  const timed = await rehearsed(timeline, device, files, options);
  let shares: number[] = []; // when each kernel begins
  const watched = observed(device, () => {
    timeline.tick();
    shares.push(shareOf(told, -Infinity));
  });
  using model = await Llama.load(watched, files);
  using learner = new LocalLearner(model, options);
  const ids = Int32Array.from({ length: 12 * chunk }, (_, i) => (7 * i) % 200);
  for (let index = 0; index < 12; index++) {
    const trained = sequence(ids, { index, start: index * chunk, end: (index + 1) * chunk }, window);
    const lesson: Lesson = { scored: null, trained, replayed: null, base: null, renewal: null };
    shares = [];
    await timed(lesson, () => learner.begin(lesson).result());
    if (index < 6) assert.is(at(shares, 0), 0, `chunk ${index}`);
    assert.ok(
      shares.every((share, k) => k === 0 || share >= at(shares, k - 1)),
      `chunk ${index}: never backwards`,
    );
    // The context is computed in every second chunk only; more kernels than before would begin at the end.
    const last = at(shares, shares.length - 1);
    assert.ok(last < 1, `chunk ${index}: ${last} when the last kernel begins`);
    // From chunk 6 on, with the whole window, the kinds are known, and measured times count: they are this machine's.
    if (index < 6) assert.ok(last > 0.9, `chunk ${index}: ${last} when the last kernel begins`);
  }
});

test.run();
