/** All of PG19 on 1 to 1,024 workers: how long, what is lost, what is in the way, and how often a checkpoint is worth its time. Rows for records. */
import { SPREAD, booksOf } from "./books.ts";
import {
  CHECKPOINT_EVERY,
  type Inputs,
  LOCK_SECONDS,
  NOTICE_SECONDS,
  REPLACED_SECONDS,
  meanTokens,
} from "./inputs.ts";
import type { Interruptions, MachineKind, Outcome, Setting } from "./setting.ts";
import { simulate } from "./simulate.ts";

const HOUR = 3600;
const never: Interruptions = { every: Infinity, notice: 0, replaced: REPLACED_SECONDS };
const every = (hours: number, notice = 0): Interruptions => ({ ...never, every: hours * HOUR, notice });

export type SweepRow = Readonly<Record<string, string | number>>;

export interface Sweep {
  readonly inputs: Inputs;
  readonly books: number;
  readonly workers: readonly number[];
  readonly seed: number;
  readonly note: (row: SweepRow) => void;
}

function settingOf(
  { inputs, books, seed }: Sweep,
  kind: MachineKind,
  workers: number,
  more: Partial<Setting> = {},
): Setting {
  // prettier-ignore
  return {
    ...{ seed, workers, kind, tokens: booksOf(books, meanTokens(inputs), SPREAD, seed) },
    ...{ checkpointEvery: CHECKPOINT_EVERY, lock: LOCK_SECONDS, checkpointBytes: inputs.checkpointBytes },
    ...{ store: inputs.store, interruptions: never },
    ...more,
  };
}

const longestFirst = (tokens: readonly number[]): number[] => [...tokens].sort((a, b) => b - a);

/** What reading each text once takes, of all that machines were there for. */
const useful = ({ tokens, workerSeconds }: Outcome, { secondsPerToken }: MachineKind): number =>
  (100 * tokens * secondsPerToken) / workerSeconds;
const lost = ({ tokens, tokensLost }: Outcome): number => (100 * tokensLost) / tokens;
const hours = ({ seconds }: Outcome): number => seconds / HOUR;

/** The queue server's time for a second of a worker that reads, in microseconds. */
function queueLoad({ queue }: Inputs, { chunk, secondsPerToken }: MachineKind): number {
  const renewal = LOCK_SECONDS / 4;
  return queue.progress / (chunk * secondsPerToken) + queue.look + queue.lock / renewal; // a look every second
}

/** A row for each number of workers. */
export function byWorkers(sweep: Sweep, kind: MachineKind): SweepRow[] {
  const { inputs } = sweep;
  return sweep.workers.map((workers) => {
    const setting = settingOf(sweep, kind, workers);
    const run = (interruptions: Interruptions): Outcome => simulate({ ...setting, interruptions });
    const calm = run(never);
    const hourly = run(every(1));
    const told = run(every(1, NOTICE_SECONDS));
    const sorted = simulate({ ...setting, tokens: longestFirst(setting.tokens) });
    const row = {
      ...{ name: `${kind.name}, ${workers} workers`, kind: kind.name, workers },
      ...{ hours: hours(calm), worker_hours: calm.workerSeconds / HOUR, useful_percent: useful(calm, kind) },
      hours_longest_first: hours(sorted),
      ...{ hours_24h: hours(run(every(24))), hours_6h: hours(run(every(6))), hours_1h: hours(hourly) },
      ...{ lost_1h_percent: lost(hourly), hours_1h_notice: hours(told), lost_1h_notice_percent: lost(told) },
      most_losses: hourly.mostLosses,
      queue_percent: (100 * workers * queueLoad(inputs, kind)) / 1e6,
      store_percent: (100 * calm.storeBytes) / (inputs.store.bytesPerSecond * calm.seconds),
      events: calm.events,
    };
    sweep.note(row);
    return row;
  });
}

/** What is in the way of many workers: one thing after the other is changed. */
export function limits(sweep: Sweep, kind: MachineKind, workers: number): SweepRow[] {
  const base = settingOf(sweep, kind, workers, { interruptions: every(6) });
  const { inputs, books, seed } = sweep;
  const tokens = longestFirst(base.tokens);
  const other = inputs.otherStores.map((store) => [`store: ${store.name}, ${Math.round(store.bytesPerSecond / 1e6)} MB/s`, { store }] as const); // prettier-ignore
  const store = inputs.otherStores.at(-1) ?? inputs.store;
  const spread = (of: number): number[] => booksOf(books, meanTokens(inputs), of, seed);
  const variants: readonly (readonly [string, Partial<Setting>])[] = [
    ["as it is", {}],
    ["the longest books first", { tokens }],
    ["a checkpoint every 10 minutes", { checkpointEvery: 600 }],
    ...other,
    ["longest first, 10 minutes, 10 Gbit/s", { tokens, store, checkpointEvery: 600 }],
    ["the same, a twentieth of the machines four times slower", { tokens, store, checkpointEvery: 600, slow: { share: 0.05, times: 4 } }], // prettier-ignore
    ["as it is, books spread by 0.7", { tokens: spread(0.7) }],
    ["as it is, books spread by 0.9", { tokens: spread(0.9) }],
  ];
  return variants.map(([name, change]) => {
    const outcome = simulate({ ...base, ...change });
    const { phases, workerSeconds } = outcome;
    const share = (seconds: number): number => (100 * seconds) / workerSeconds;
    const row = {
      ...{ name, kind: kind.name, workers, hours: hours(outcome), useful_percent: useful(outcome, kind) },
      ...{ lost_percent: lost(outcome), waiting_percent: share(phases.waiting) },
      ...{
        saving_percent: share(phases.saving),
        preparing_percent: share(phases.preparing + phases.starting),
      },
    };
    sweep.note(row);
    return row;
  });
}

/** Young 1974 ("A first order approximation to the optimum checkpoint interval"): of seconds that a checkpoint takes and between two failures. */
export const young = (cost: number, between: number): number => Math.sqrt(2 * cost * between);

/** Daly 2006 ("A higher order estimate of the optimum checkpoint interval for restart dumps"), eq. 37. */
export function daly(cost: number, between: number): number {
  if (cost >= 2 * between) return between;
  const x = cost / (2 * between);
  return young(cost, between) * (1 + Math.sqrt(x) / 3 + x / 9) - cost;
}

const INTERVALS = [15, 30, 60, 90, 120, 180, 240, 360, 480, 720, 1200, 2400] as const;

/** What checkpoints and interruptions cost beyond reading each text once, by the time between two checkpoints. */
export function intervals(sweep: Sweep, kind: MachineKind, workers: number): SweepRow[] {
  const stores = [
    { name: "no limit", rates: { bytesPerSecond: 1e12, mostEach: 1e12 } },
    { name: "as measured", rates: sweep.inputs.store },
  ];
  return stores.flatMap(({ name, rates }) =>
    [1, 6, 24].map((between) => {
      const costs = INTERVALS.map((checkpointEvery) => {
        const change = { checkpointEvery, store: rates, interruptions: every(between) };
        const outcome = simulate(settingOf(sweep, kind, workers, change));
        const { reading, saving, storing, preparing } = outcome.phases;
        const least = outcome.tokens * kind.secondsPerToken;
        return [checkpointEvery, 100 * ((reading + saving + storing + preparing) / least - 1)] as const;
      });
      const [best, cost] = costs.reduce((a, b) => (b[1] < a[1] ? b : a));
      const near = costs.filter(([, other]) => other < cost + 0.1).map(([interval]) => interval);
      const row = {
        ...{ name: `${name}, ${between} h`, kind: kind.name, workers, store: name, between_hours: between },
        ...{ young: young(kind.saveSeconds, between * HOUR), daly: daly(kind.saveSeconds, between * HOUR) },
        ...{ best, cost_percent: cost, near: `${near[0] ?? best} to ${near.at(-1) ?? best}` },
        default_percent: costs.find(([interval]) => interval === CHECKPOINT_EVERY)?.[1] ?? NaN,
        costs: JSON.stringify(costs),
      };
      sweep.note(row);
      return row;
    }),
  );
}
