/** One job on one cluster, from the first machine's start to the last result. The same setting has the same outcome. */
import { Draws } from "./draws.ts";
import { Link } from "./link.ts";
import { TaskQueue } from "./queue.ts";
import { type Outcome, type Phase, type Setting, phases } from "./setting.ts";
import { Timeline } from "./timeline.ts";
import { Worker } from "./worker.ts";

/** Streams of random numbers: 0 is the books' (books.ts), and workers' begin here. */
const QUEUE = 1;
const WORKERS = 2;

/** Machines may come and go so fast that no text is ever read. */
const HOPELESS = 100;

export function simulate(setting: Setting): Outcome {
  const { seed, workers: count, lock, store, kills = [], slow } = setting;
  const time = new Timeline();
  const link = new Link(time, store.bytesPerSecond, store.mostEach);
  const tasks = setting.tokens.map((tokens) => ({ tokens, stored: 0, losses: 0 }));
  const queue = new TaskQueue(time, new Draws(seed, QUEUE), lock, tasks);
  let done = 0;
  const finished = (): void => {
    if (++done === tasks.length) time.end();
  };
  const world = { setting, time, queue, link, finished };
  const workers = Array.from({ length: count }, (_, i) => {
    const isSlow = slow !== undefined && i < slow.share * count;
    return new Worker(world, new Draws(seed, WORKERS + i), isSlow ? slow.times : 1);
  });
  for (const worker of workers) worker.start();
  for (const [seconds, i] of kills) time.after(seconds, () => workers[i]?.kill());
  const least = setting.tokens.reduce((all, tokens) => all + tokens * setting.kind.secondsPerToken, 0);
  time.after(HOPELESS * (least + setting.kind.startSeconds), () => {
    throw new Error(
      `not done in ${HOPELESS} times what one worker needs: interruptions come before checkpoints`,
    );
  });
  time.run();
  for (const worker of workers) worker.leave();

  const sum = (of: (worker: Worker) => number): number => workers.reduce((all, one) => all + of(one), 0);
  const spent = Object.fromEntries(
    phases.map((phase) => [phase, sum((worker) => worker.spent[phase])]),
  ) as Record<Phase, number>;
  return {
    seconds: time.now,
    workerSeconds: phases.reduce((all, phase) => all + spent[phase], 0),
    phases: spent,
    done,
    tokens: tasks.reduce((all, { tokens }) => all + tokens, 0),
    tokensLost: sum((worker) => worker.tokensLost),
    interruptions: sum((worker) => worker.interruptions),
    mostLosses: tasks.reduce((most, { losses }) => Math.max(most, losses), 0),
    checkpoints: sum((worker) => worker.checkpoints),
    storeBytes: link.bytes,
    events: time.events,
  };
}
