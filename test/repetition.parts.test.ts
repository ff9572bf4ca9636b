/** The figures that tell whether a text repeats itself, against plain loops over the ids, and what is said of them. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { GrowingText } from "../templora/growing_text.ts";
import { type Repetition, RepetitionWatch, distinct } from "../templora/repetition.ts";
import { naive } from "./support/distinct.ts";
import { SEED, TestRandom } from "./support/rng.ts";

test("distinct 4-grams: by hand, and as a plain loop finds them", () => {
  const random = new TestRandom(SEED, "distinct");
  const loop = (period: number): Int32Array => Int32Array.from({ length: 256 }, (_, i) => i % period);
  assert.is(distinct(loop(256)), 1);
  assert.is(distinct(loop(1)), 1 / 253);
  assert.is(distinct(loop(100)), 100 / 253);
  for (const length of [0, 3]) assert.is(distinct(loop(5).subarray(0, length)), 1);
  for (let i = 0; i < 20; i++) {
    const ids = Int32Array.from({ length: 4 + random.below(300) }, () => random.below(1 + (i % 5)));
    for (const n of [1, 2, 4]) if (ids.length >= n) assert.is(distinct(ids, n), naive([...ids], n));
  }
});

/** What is said of the tokens from `start` on, whose entropies are `nats`. */
const say = (text: GrowingText, start: number, nats: readonly number[], watch = new RepetitionWatch()): Repetition | null => {
  for (const one of nats) watch.wrote(one);
  return watch.endOf({ index: 0, start, end: text.length }, text);
}; // prettier-ignore

test("what is looked at: tokens that were written without a break, from 128 on, 256 at a time", () => {
  const text = new GrowingText();
  const loop = (length: number): number[] => Array.from({ length }, (_, i) => i % 10);
  const fresh = (length: number): number[] => Array.from({ length }, (_, i) => 1000 + text.length + i);
  const of = (start: number, nats = [2, 4]): Repetition | null => say(text, start, nats);
  text.append(loop(300), 0);
  assert.is(of(0, []), null, "all of it is given");
  text.append(loop(127), 1);
  assert.equal(of(300), { distinct_4: null, entropy: 3, repeats: 0 });
  text.append([7], 1);
  assert.equal(of(300), { distinct_4: naive([...loop(127), 7]), entropy: 3, repeats: 1 });
  text.append(fresh(130), 1);
  assert.equal(of(428), { distinct_4: naive([...text.ids(302)]), entropy: 3, repeats: 0 }, "what went before counts"); // prettier-ignore
  text.append(fresh(1000), 1);
  assert.equal(of(1000), { distinct_4: 1, entropy: 3, repeats: 0 }, "but no further back");
  text.append(loop(200), 1);
  text.append(fresh(500), 1);
  const pieces = of(1558);
  assert.is(pieces?.repeats, 1, "a long chunk in pieces");
  assert.equal(of(1858), { distinct_4: 1, entropy: 3, repeats: 0 }, "and not what lies before it");
  assert.equal(of(1558, [NaN]), { ...pieces, entropy: null });
});

test("an entropy below a quarter of what it was, of 32 tokens after 128", () => {
  const text = new GrowingText();
  text.append(Int32Array.from({ length: 1000 }, (_, i) => i), 1); // prettier-ignore
  const nats = (length: number, entropy: number): number[] => Array<number>(length).fill(entropy);
  for (const [before, tokens, entropy, repeats] of [
    [128, 32, 0.99, 1],
    [128, 32, 1.01, 0],
    [127, 32, 0.99, 0],
    [128, 31, 0.99, 0],
    [128, 32, NaN, 0],
  ] as const) {
    const watch = new RepetitionWatch();
    assert.is(say(text, 0, nats(before, 4), watch)?.repeats, 0);
    const other = new RepetitionWatch();
    other.restore(watch.snapshot());
    assert.is(
      say(text, 0, nats(tokens, entropy), other)?.repeats,
      repeats,
      `${before}, ${tokens}, ${entropy}`,
    );
    if (repeats === 1) assert.is(say(text, 0, nats(32, 0.98), other)?.repeats, 1, "a loop is no measure");
    else if (before === 128 && tokens === 32 && entropy > 1)
      assert.is(
        say(text, 0, nats(32, 0.87), other)?.repeats,
        0,
        "what does not repeat is: (4 + 1.01 / 4) / 5",
      );
  }
});

test.run();
