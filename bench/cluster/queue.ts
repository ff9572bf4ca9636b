/**
 * The queue as BullMQ keeps it for templora's workers: tasks in the order in which they were put there, those that came back first. A dead
 * worker's task comes back when its lock has run out and two checks have seen that.
 */
import type { Draws } from "./draws.ts";
import { IDLE_SECONDS } from "./setting.ts";
import type { Timeline } from "./timeline.ts";

export interface Task {
  readonly tokens: number;
  /** How far its newest checkpoint in the store is; 0 without one. */
  stored: number;
  /** Workers that died over it. */
  losses: number;
}

interface Waiting {
  next(): void;
}

export class TaskQueue {
  readonly #time: Timeline;
  readonly #draws: Draws;
  readonly #lock: number;
  readonly #tasks: readonly Task[];
  #taken = 0;
  readonly #back: Task[] = [];
  readonly #idle = new Set<Waiting>();
  /** Lost while no worker was there to see it. */
  readonly #unseen: Task[] = [];
  #workers = 0;

  constructor(time: Timeline, draws: Draws, lock: number, tasks: readonly Task[]) {
    this.#time = time;
    this.#draws = draws;
    this.#lock = lock;
    this.#tasks = tasks;
  }

  take(): Task | undefined {
    return this.#back.pop() ?? this.#tasks[this.#taken++];
  }

  /** A worker is there. */
  join(): void {
    if (this.#workers++ > 0) return;
    // Its first check marks all that is in progress, its second one finds who does not renew.
    for (const task of this.#unseen.splice(0)) this.#time.after(this.#lock, () => this.giveBack(task));
  }

  /** Calls the worker when there is a task again. */
  wait(worker: Waiting): void {
    this.#idle.add(worker);
  }

  stopWaiting(worker: Waiting): void {
    this.#idle.delete(worker);
  }

  giveBack(task: Task): void {
    this.#back.push(task);
    const [worker] = this.#idle;
    if (!worker) return;
    this.#idle.delete(worker);
    this.#time.after(IDLE_SECONDS * this.#draws.uniform(), () => worker.next());
  }

  /** A worker is dead, and was over this task. */
  lose(task: Task | null): void {
    const others = --this.#workers;
    if (!task) return;
    task.losses++;
    const checked = this.#draws.uniform() * (others + 1) < 1;
    this.#time.after(takeover(this.#lock, this.#draws, checked ? others : null), () => {
      if (this.#workers > 0) this.giveBack(task);
      else this.#unseen.push(task);
    });
  }
}

/**
 * From a worker's death until its task waits again. BullMQ renews the lock every quarter of its time. A check comes once in the lock's time,
 * marks all tasks in progress, and takes back those that the one before has marked and no renewal since: the second one after the last renewal.
 * All workers would check, and whoever comes first does: always the same one, as its turn is just when the time since its last check is over. When
 * that one has died, the first turn of so many `others` after that time takes its place.
 */
export function takeover(lock: number, draws: Draws, others: number | null): number {
  const turn = others === null || others === 0 ? 0 : 1 - draws.uniform() ** (1 / others);
  return lock * (1 + draws.uniform() - draws.uniform() / 4 + turn);
}
