/** Byte-pair encoding gives what its definition says, of any merges and any text, and lets others have their turn meanwhile. */
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Steps, atOnce } from "../engine/turns.ts";
import { Merges } from "../model/bpe.ts";

type Merge = readonly [left: number, right: number, made: number];
const join = (list: readonly Merge[], ids: readonly number[]): Steps<number[]> =>
  atOnce(Merges.from(Int32Array.from(list.flat()))).join(ids);

/** The definition, step by step: the first-listed pair that is there is joined where it stands leftmost. */
function joined(ids: readonly number[], merges: readonly Merge[]): number[] {
  const tokens = [...ids];
  for (;;) {
    const found = merges
      .map(([left, right, made]) => ({
        place: tokens.findIndex((token, i) => token === left && tokens[i + 1] === right),
        made,
      }))
      .find(({ place }) => place >= 0);
    if (!found) return tokens;
    tokens.splice(found.place, 2, found.made);
  }
}

/** Tokens are texts of the letters 0, 1 and 2: each merge joins two of those that are there, in any order of the list. */
const merges = fc
  .tuple(
    fc.array(fc.tuple(fc.nat(40), fc.nat(40)), { maxLength: 24 }),
    fc.array(fc.nat(1_000_000), { minLength: 24, maxLength: 24 }),
  )
  .map(([pairs, ranks]) => {
    const tokens = ["0", "1", "2"];
    const made = new Map<string, { rank: number; merge: [number, number, number] }>();
    for (const [i, [a, b]] of pairs.entries()) {
      const [left, right] = [a % tokens.length, b % tokens.length];
      const text = `${tokens[left]}${tokens[right]}`;
      if (text.length > 12) continue;
      if (!tokens.includes(text)) tokens.push(text);
      made.set(`${left} ${right}`, { rank: ranks[i] ?? 0, merge: [left, right, tokens.indexOf(text)] });
    }
    return [...made.values()].sort((a, b) => a.rank - b.rank).map(({ merge }) => merge);
  });

test("the merges of any list, applied to any letters", () => {
  fc.assert(
    fc.property(merges, fc.array(fc.nat(2), { maxLength: 60 }), (list, ids) => {
      assert.equal(atOnce(join(list, ids)), joined(ids, list));
    }),
    { numRuns: 2000, endOnFailure: true },
  );
});

test("by hand: rank before place, equal ranks from the left, no merge undone", () => {
  const of = (ids: number[], list: Merge[]): number[] => atOnce(join(list, ids));
  const [a, b, c, ab, bc, abc, aa] = [0, 1, 2, 3, 4, 5, 6];
  assert.equal(of([a, b, c], [[b, c, bc], [a, b, ab]]), [a, bc]); // prettier-ignore
  assert.equal(of([a, b, c], [[a, b, ab], [b, c, bc], [ab, c, abc]]), [abc]); // prettier-ignore
  assert.equal(of([a, a, a, a, a], [[a, a, aa]]), [aa, aa, a]);
  assert.equal(of([a, b, c], []), [a, b, c]);
  assert.equal(of([], [[a, b, ab]]), []);
  assert.equal(of([a], [[a, b, ab]]), [a]);
});

test("a long word is joined in many small steps", () => {
  for (const [list, joins] of [
    [[], 0],
    [
      [
        [0, 0, 1],
        [1, 1, 2],
      ],
      2,
    ],
  ] as const) {
    const joining = join(list, new Array<number>(100_000).fill(0));
    let [step, steps] = [joining.next(), 0];
    for (; step.done !== true; step = joining.next()) steps++;
    assert.equal(step.value, new Array<number>(100_000 / 2 ** joins).fill(joins));
    // every 4,096 letters, and every 4,096 pairs; there are 75,000 merges, and some pairs that are no longer there
    const least = joins === 0 ? 24 : 24 + 18;
    assert.ok(steps >= least && steps < 2 * least, `${steps} steps`);
  }
});

test.run();
