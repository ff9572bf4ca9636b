/** The simulation of a cluster (bench/cluster) against what can be calculated: schedules of a few books, queues of theory, checkpoints of Young and Daly. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PG19, booksOf, quantile } from "../bench/cluster/books.ts";
import { Draws } from "../bench/cluster/draws.ts";
import { Link } from "../bench/cluster/link.ts";
import { takeover } from "../bench/cluster/queue.ts";
import type { MachineKind, Setting } from "../bench/cluster/setting.ts";
import { simulate } from "../bench/cluster/simulate.ts";
import { daly, young } from "../bench/cluster/sweep.ts";
import { Timeline } from "../bench/cluster/timeline.ts";

const test = suite("cluster");

const kind: MachineKind = {
  ...{ name: "test", chunk: 10, secondsPerToken: 0.1, startSeconds: 5, taskSeconds: 2, firstTaskSeconds: 3 },
  saveSeconds: 0.5,
};
const calm = { every: Infinity, notice: 0, replaced: 20 };
const setting = (more: Partial<Setting>): Setting => ({
  ...{ seed: 1, workers: 1, tokens: [100], kind, checkpointEvery: 1e6, lock: 30, checkpointBytes: 1000 },
  ...{ store: { bytesPerSecond: 1e6, mostEach: 1e6 }, interruptions: calm },
  ...more,
});
const near = (got: number, want: number, relative: number, what: string): void =>
  assert.ok(Math.abs(got / want - 1) <= relative, `${what}: ${got}, not ${want} within ${100 * relative} %`);

test("what happens at one time happens in the order in which it was asked for", () => {
  const time = new Timeline();
  const seen: number[] = [];
  for (let i = 0; i < 100; i++) time.after(i % 3, () => seen.push(i));
  time.run();
  assert.equal(seen, [0, 1, 2].flatMap((at) => seen.filter((i) => i % 3 === at).sort((a, b) => a - b))); // prettier-ignore
});

test("interruptions that leave no time for a checkpoint end in words, not never", () => {
  const interruptions = { every: 8, notice: 0, replaced: 0 };
  assert.throws(() => simulate(setting({ tokens: [100_000], interruptions })), /interruptions come before/);
});

test("equal books without interruptions: rounds of as many as there are workers", () => {
  for (const [books, workers] of [
    [12, 1],
    [12, 4],
    [13, 4],
    [3, 8],
  ] as const) {
    // prettier-ignore
    const { seconds, done, workerSeconds } = simulate(setting({ workers, tokens: Array<number>(books).fill(100) })); // prettier-ignore
    const rounds = Math.ceil(books / workers);
    near(seconds, 5 + 3 + 10 + (rounds - 1) * (2 + 10), 1e-12, `${books} books, ${workers} workers`);
    assert.is(done, books);
    near(workerSeconds, workers * seconds, 1e-12, "all are there to the end");
  }
});

test("saves are waited for; a checkpoint on its way when the text ends is called off", () => {
  const saved = setting({ checkpointEvery: 3, store: { bytesPerSecond: 500, mostEach: 500 } }); // an upload of 2 s
  const { seconds, checkpoints, phases } = simulate(saved);
  // Ten chunks of a second: saved after 3, 6 and 9; the third upload begins a second before the end.
  near(seconds, 5 + 3 + 10 + 3 * 0.5, 1e-12, "seconds");
  assert.is(checkpoints, 2);
  near(phases.saving, 3 * 0.5, 1e-9, "saves");
  assert.is(phases.storing, 0);
});

test("a long book at the end is waited for; as the first it is not", () => {
  const books = [100, 100, 100, 100, 400];
  const free = { ...kind, startSeconds: 0, taskSeconds: 0, firstTaskSeconds: 0 };
  const last = simulate(setting({ workers: 2, tokens: books, kind: free }));
  const first = simulate(setting({ workers: 2, tokens: books.toReversed(), kind: free }));
  near(last.seconds, 60, 1e-12, "at the end");
  near(first.seconds, 40, 1e-12, "as the first");
});

test("a shared link is the processor sharing of theory: the mean stay under random arrivals is 1 / (1 − load)", () => {
  const time = new Timeline();
  const link = new Link(time, 1);
  const draws = new Draws(7, 0);
  const [load, count] = [0.7, 60_000];
  let [stay, arrived] = [0, 0];
  const arrive = (): void => {
    const began = time.now;
    link.send(draws.exponential(1), () => (stay += time.now - began));
    if (++arrived < count) time.after(draws.exponential(1 / load), arrive);
  };
  arrive();
  time.run();
  near(stay / count, 1 / (1 - load), 0.05, "mean stay");
});

test("a shared link: equal shares, none beyond a worker's own, and a cancelled transfer's share goes to the others", () => {
  const ends = (rate: number, each: number, cancelAt?: number): number[] => {
    const time = new Timeline();
    const link = new Link(time, rate, each);
    const found: number[] = [];
    link.send(10, () => found.push(time.now));
    const other = link.send(30, () => found.push(time.now));
    if (cancelAt !== undefined) time.after(cancelAt, () => link.cancel(other));
    time.run();
    return found;
  };
  assert.equal(ends(10, 10), [2, 4]); // 5 a second each, then 10
  assert.equal(ends(100, 5), [2, 6]);
  assert.equal(ends(10, 10, 1), [1.5]);
});

/** Daly 2006, eq. 20: the mean time of work that is lost back to its last checkpoint, failures at any moment alike. */
function expected(work: number, every: number, save: number, restart: number, between: number): number {
  return between * Math.exp(restart / between) * (Math.exp((every + save) / between) - 1) * (work / every);
}

test("interruptions and checkpoints cost what Daly's formula says, and least near Young's and his interval", () => {
  const [between, save] = [600, 2];
  const slow = { ...kind, chunk: 1, secondsPerToken: 1, startSeconds: 4, taskSeconds: 0, firstTaskSeconds: 6, saveSeconds: save }; // prettier-ignore
  const instant = { lock: 1e-6, store: { bytesPerSecond: 1e12, mostEach: 1e12 } };
  const cost = (checkpointEvery: number): number => {
    const interruptions = { every: between, notice: 0, replaced: 0 };
    const tokens = [2_000_000];
    const { seconds } = simulate(setting({ ...instant, kind: slow, tokens, checkpointEvery, interruptions }));
    near(
      seconds,
      expected(2_000_000, checkpointEvery, save, 10, between),
      0.02,
      `every ${checkpointEvery} s`,
    );
    return seconds;
  };
  const best = Math.round(daly(save, between));
  near(best, young(save, between), 0.05, "Daly's and Young's intervals");
  const least = cost(best);
  for (const other of [best / 4, best * 4])
    assert.ok(cost(Math.round(other)) > 1.01 * least, `at ${other} s`);
});

test("whatever befalls workers, every book is done once, and no chunk is read that is not counted", () => {
  for (let seed = 0; seed < 40; seed++) {
    const draws = new Draws(seed, 99);
    const workers = 1 + Math.floor(8 * draws.uniform());
    const tokens = Array.from({ length: 30 }, () => kind.chunk * Math.ceil(60 * draws.uniform()));
    const outcome = simulate(
      setting({
        ...{ seed, workers, tokens, checkpointEvery: 20 * draws.uniform(), lock: 20 * draws.uniform() },
        interruptions: { every: 15 + 100 * draws.uniform(), notice: seed % 2 === 0 ? 0 : 10 * draws.uniform(), replaced: 5 }, // prettier-ignore
        store: { bytesPerSecond: 100 + 2000 * draws.uniform(), mostEach: 1000 },
      }),
    );
    const { done, phases, tokensLost, interruptions } = outcome;
    assert.is(done, 30, `seed ${seed}`);
    const counted = (outcome.tokens + tokensLost) * kind.secondsPerToken;
    const within = interruptions * kind.chunk * kind.secondsPerToken; // a chunk in progress is lost uncounted
    assert.ok(
      phases.reading >= counted - 1e-6,
      `seed ${seed}: ${phases.reading} s of reading for ${counted} s`,
    );
    assert.ok(phases.reading <= counted + within + 1e-6, `seed ${seed}: ${phases.reading} s of reading for ${counted} s`); // prettier-ignore
  }
});

test("a notice that is long enough loses nothing; one that ends before the upload does loses as none", () => {
  const run = (notice: number, bytesPerSecond: number): number => {
    const interruptions = { every: 100, notice, replaced: 20 };
    const store = { bytesPerSecond, mostEach: bytesPerSecond };
    return simulate(setting({ workers: 4, tokens: Array<number>(40).fill(500), interruptions, store }))
      .tokensLost;
  };
  assert.is(run(10, 1e6), 0);
  assert.ok(run(0, 1e6) > 1000);
  assert.ok(run(10, 50) > 1000);
});

test("a dead worker's task waits for the second check after its last sign of life", () => {
  const draws = new Draws(3, 0);
  const of = (others: number | null): number[] => Array.from({ length: 20_000 }, () => takeover(1, draws, others)); // prettier-ignore
  const mean = (all: readonly number[]): number => all.reduce((sum, x) => sum + x, 0) / all.length;
  const seen = of(null);
  assert.ok(Math.min(...seen) > 0.75 && Math.max(...seen) < 2);
  near(mean(seen), 1.375, 0.01, "beside the worker that checks");
  near(mean(of(1)), 1.875, 0.01, "that one itself, of two");
});

test("the same seed gives the same outcome, another one another", () => {
  const run = (seed: number): object => simulate(setting({ seed, workers: 3, tokens: Array<number>(50).fill(300), interruptions: { ...calm, every: 60 } })); // prettier-ignore
  assert.equal(run(5), run(5));
  assert.not.equal(run(5), run(6));
});

test("the books: PG19's mean, and a log-normal's shape", () => {
  near(quantile(0.975), 1.959963984540054, 1e-8, "the normal's quantile");
  const mean = PG19.words / PG19.books;
  const words = booksOf(2000, mean, 0.8, 0).sort((a, b) => a - b);
  near(words.reduce((sum, x) => sum + x, 0) / 2000, mean, 1e-3, "mean");
  near(words[1000] ?? 0, mean * Math.exp(-(0.8 ** 2) / 2), 0.02, "median");
});

test.run();
