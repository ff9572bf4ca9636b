/**
 * The simulation against real runs of the queue here: 1, 2 and 4 workers of the tests' tiny model read books of log-normal lengths, then two
 * workers of which one is killed every so often. What the simulation needs is measured in a run of its own by one worker before; a record
 * of minutes foreseen and measured goes to bench/results. Needs redis-server or valkey-server, and cpulimit.
 *
 *   npm run simulate:cluster:check -- [--percent 10] [--books 14] [--characters 4000] [--workers 1,2,4] [--record]
 */
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { median } from "../../harness.ts";
import { writeRecord } from "../../record.ts";
import { SPREAD, booksOf } from "../books.ts";
import { type MachineKind, type Setting } from "../setting.ts";
import { simulate } from "../simulate.ts";
import { CHUNK, type Told, realJob } from "./job.ts";

const { values } = parseArgs({
  options: {
    percent: { type: "string", default: "10" },
    books: { type: "string", default: "14" },
    characters: { type: "string", default: "4000" },
    workers: { type: "string", default: "1,2,4" },
    record: { type: "boolean", default: false },
  },
});
/** Books of a calibration. */
const CALIBRATION = 4;
const percent = Number(values.percent);
const common = { percent, checkpointEvery: 4, lock: 4, replaced: 2 };
const lengths = (books: number, seed: number): number[] =>
  booksOf(books, Number(values.characters), SPREAD, seed);

/** What one worker's tasks have cost: of the lines that it says, when each task was begun and done. */
function kindOf({ said, tasks }: Told): MachineKind {
  const times = (what: string): number[] =>
    said.filter(([, line]) => line.includes(what)).map(([seconds]) => seconds);
  const [begun, done] = [times(": begun"), times(": done")];
  // A worker alone takes tasks in the queue's order, which is that of their names.
  const own = tasks.map(({ seconds }, i) => (done[i] ?? NaN) - (begun[i] ?? NaN) - seconds);
  const all = (of: (task: Told["tasks"][number]) => number): number =>
    tasks.reduce((sum, task) => sum + of(task), 0);
  return {
    ...{
      name: "tiny",
      chunk: CHUNK,
      secondsPerToken: all(({ seconds }) => seconds) / all(({ tokens }) => tokens),
    },
    ...{ startSeconds: begun[0] ?? NaN, firstTaskSeconds: own[0] ?? NaN, taskSeconds: median(own.slice(1)) },
    saveSeconds: 0, // is in the tasks' own: the tiny model's state is small
  };
}

/** Small states, by a folder: the store is no limit. */
const store = { checkpointBytes: 1, store: { bytesPerSecond: 1e9, mostEach: 1e9 } };

/** Of one worker's run: others' work makes the machine slower and faster, so there is one before each of the runs that are compared, and one at the end. */
const measured: MachineKind[] = [];
async function measure(): Promise<void> {
  measured.push(
    kindOf(await realJob({ ...common, characters: lengths(CALIBRATION, 99), count: 1, kills: [] })),
  );
  console.log(measured.at(-1));
}

interface Run {
  readonly workers: number;
  readonly kills: NonNullable<Setting["kills"]>;
  readonly told: Told;
  readonly load: number;
}

async function run(workers: number, kills: Run["kills"] = []): Promise<Run> {
  await measure();
  const characters = lengths(Number(values.books), workers);
  const told = await realJob({ ...common, characters, count: workers, kills });
  console.log(`${workers} workers, ${told.killed} kills: ${told.seconds} s`);
  return { workers, kills, told, load: loadavg()[0] ?? NaN };
}

/** Minutes by the costs of the calibration, and by the run's own seconds a token: what then differs is not the machine's pace. */
function compared({ workers, kills, told, load }: Run, kind: MachineKind): object {
  const foreseen = (of: MachineKind): number =>
    simulate({
      ...{ ...common, ...store, seed: 0, workers, kind: of, kills },
      tokens: told.tasks.map(({ tokens }) => tokens),
      interruptions: { every: Infinity, notice: 0, replaced: common.replaced },
    }).seconds;
  const { secondsPerToken } = kindOf(told);
  const [seconds, ownPace] = [foreseen(kind), foreseen({ ...kind, secondsPerToken })];
  const error = (of: number): number => 100 * (of / told.seconds - 1);
  return {
    ...{ name: `${workers} workers, ${told.killed} kills`, workers, kills: told.killed },
    ...{ minutes: told.seconds / 60, foreseen: seconds / 60, error_percent: error(seconds) },
    ...{ foreseen_own_pace: ownPace / 60, error_own_pace_percent: error(ownPace) },
    ...{ continued: told.tasks.filter(({ isContinued }) => isContinued).length, load },
  };
}

const runs: Run[] = [];
for (const workers of values.workers.split(",").map(Number)) runs.push(await run(workers));
/** One of two workers, in turn, at moments of no rhythm. */
runs.push(await run(2, [25, 45, 64].map((seconds, i) => [seconds, i % 2] as const))); // prettier-ignore
await measure();
const middle = (of: (kind: MachineKind) => number): number => median(measured.map(of));
const kind: MachineKind = {
  ...{ name: "tiny", chunk: CHUNK, saveSeconds: 0 },
  secondsPerToken: middle(({ secondsPerToken }) => secondsPerToken),
  startSeconds: middle(({ startSeconds }) => startSeconds),
  firstTaskSeconds: middle(({ firstTaskSeconds }) => firstTaskSeconds),
  taskSeconds: middle(({ taskSeconds }) => taskSeconds),
};
const rows = runs.map((one) => compared(one, kind));
console.log(rows);
if (values.record)
  console.log(
    await writeRecord("cluster_check", { percent, books: Number(values.books), kind, measured }, rows),
  );
process.exit(0);
