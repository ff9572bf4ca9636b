/**
 * A worker on a machine that comes and goes: takes a task, reads it chunk by chunk with a state saved now and then, and gives it to the store
 * while it reads on, as cli/queue/run_task.ts does. What lies between two saves is one event.
 */
import type { Draws } from "./draws.ts";
import type { Link, Transfer } from "./link.ts";
import type { Task, TaskQueue } from "./queue.ts";
import { type Phase, type Setting } from "./setting.ts";
import type { Timeline } from "./timeline.ts";

export interface World {
  readonly setting: Setting;
  readonly time: Timeline;
  readonly queue: TaskQueue;
  readonly link: Link;
  /** A task's result is made. */
  finished(): void;
}

export class Worker {
  readonly #world: World;
  readonly #draws: Draws;
  readonly #chunkSeconds: number;
  readonly #times: number;
  readonly spent: Record<Phase, number> = { starting: 0, waiting: 0, preparing: 0, reading: 0, saving: 0, storing: 0 }; // prettier-ignore
  tokensLost = 0;
  interruptions = 0;
  checkpoints = 0;
  #phase: Phase | null = null;
  #since = 0;
  /** What was to happen in an earlier phase, or to a machine that is gone, does not. */
  #step = 0;
  #life = 0;
  #task: Task | null = null;
  #isFirst = true;
  /** Tokens read when the phase began. */
  #read = 0;
  readonly #transfers = new Set<Transfer>();
  #isUploading = false;
  #isStopping = false;

  constructor(world: World, draws: Draws, times: number) {
    const { kind } = world.setting;
    this.#world = world;
    this.#draws = draws;
    this.#times = times;
    this.#chunkSeconds = times * kind.chunk * kind.secondsPerToken;
  }

  /** A machine is there. */
  start(): void {
    const { kind, interruptions } = this.#world.setting;
    const { every, notice } = interruptions;
    this.#world.queue.join();
    this.#isFirst = true;
    this.#isStopping = false;
    if (Number.isFinite(every))
      this.#inThisLife(this.#draws.exponential(every), () => {
        if (notice === 0) return this.kill();
        this.#inThisLife(notice, () => this.kill());
        this.#stop();
      });
    this.#enter("starting", this.#times * kind.startSeconds, () => this.next());
  }

  /** The machine is gone, and another comes. */
  kill(): void {
    const { time, queue, setting } = this.#world;
    this.interruptions++;
    if (this.#task) this.tokensLost += Math.max(0, this.#position() - this.#task.stored);
    queue.lose(this.#task);
    this.leave();
    this.#life++;
    this.#task = null;
    this.#callOff();
    time.after(setting.interruptions.replaced, () => this.start());
  }

  /** Nothing more is spent. */
  leave(): void {
    this.#world.queue.stopWaiting(this);
    this.#enter(null);
  }

  /** Looks for a task. */
  next(): void {
    if (this.#isStopping) return this.#enter("waiting");
    const { queue, setting } = this.#world;
    const task = queue.take();
    this.#task = task ?? null;
    if (!task) {
      this.#enter("waiting");
      queue.wait(this);
      return;
    }
    const { taskSeconds, firstTaskSeconds } = setting.kind;
    this.#read = task.stored;
    const own = this.#times * (this.#isFirst ? firstTaskSeconds : taskSeconds);
    this.#isFirst = false;
    this.#enter("preparing", own, () => {
      if (task.stored === 0) this.#goOn(task);
      else this.#send(() => this.#goOn(task));
    });
  }

  /** Reads to the next save, or to the text's end. */
  #goOn(task: Task): void {
    const { kind, checkpointEvery } = this.#world.setting;
    const left = Math.ceil((task.tokens - this.#read) / kind.chunk);
    const chunks = Math.min(left, Math.max(1, Math.ceil(checkpointEvery / this.#chunkSeconds)));
    this.#enter("reading", chunks * this.#chunkSeconds, () => {
      this.#read = Math.min(task.tokens, this.#read + chunks * kind.chunk);
      if (chunks === left) this.#finish();
      else this.#save(() => {
        if (!this.#isUploading) this.#upload(task, this.#read);
        this.#goOn(task);
      }); // prettier-ignore
    });
  }

  #save(then: () => void): void {
    this.#enter("saving", this.#times * this.#world.setting.kind.saveSeconds, then);
  }

  #upload(task: Task, position: number, then = (): void => undefined): void {
    this.#isUploading = true;
    this.#send(() => {
      task.stored = position;
      this.checkpoints++;
      this.#isUploading = false;
      then();
    });
  }

  #finish(): void {
    this.#callOff();
    this.#task = null;
    this.#world.finished();
    this.next();
  }

  /** SIGTERM: the chunk in progress ends, its state goes to the store, and the task goes back. */
  #stop(): void {
    this.#isStopping = true;
    const { queue, time, setting } = this.#world;
    const task = this.#task;
    if (this.#phase === "reading" && task) {
      const ofChunk = (time.now - this.#since) % this.#chunkSeconds;
      this.#read = this.#position();
      this.#enter("reading", this.#chunkSeconds - ofChunk, () => {
        this.#read = Math.min(task.tokens, this.#read + setting.kind.chunk);
        this.#keepLast(task);
      });
    } else if (this.#phase === "saving" && task) this.#keepLast(task);
    else {
      queue.stopWaiting(this);
      this.#callOff();
      this.#hand(task);
    }
  }

  #keepLast(task: Task): void {
    this.#save(() => {
      this.#callOff(); // what is on its way is of an earlier state
      this.#enter("storing");
      this.#upload(task, this.#read, () => this.#hand(task));
    });
  }

  /** Back to the queue. */
  #hand(task: Task | null): void {
    this.#task = null;
    this.#enter("waiting");
    if (task) this.#world.queue.giveBack(task);
  }

  /** Whole chunks that are read by now. */
  #position(): number {
    if (this.#phase !== "reading" || !this.#task) return this.#read;
    const chunks = Math.floor((this.#world.time.now - this.#since) / this.#chunkSeconds + 1e-9);
    return Math.min(this.#task.tokens, this.#read + chunks * this.#world.setting.kind.chunk);
  }

  #send(then: () => void): void {
    const { link, setting } = this.#world;
    const transfer = link.send(setting.checkpointBytes, () => {
      this.#transfers.delete(transfer);
      then();
    });
    this.#transfers.add(transfer);
  }

  #callOff(): void {
    for (const transfer of this.#transfers) this.#world.link.cancel(transfer);
    this.#transfers.clear();
    this.#isUploading = false;
  }

  /** Time goes to `phase` from now on; `then` happens after so many seconds, unless another phase has begun. */
  #enter(phase: Phase | null, seconds?: number, then?: () => void): void {
    const { now } = this.#world.time;
    if (this.#phase) this.spent[this.#phase] += now - this.#since;
    this.#phase = phase;
    this.#since = now;
    const step = ++this.#step;
    if (seconds === undefined || !then) return;
    this.#world.time.after(seconds, () => {
      if (step === this.#step) then();
    });
  }

  #inThisLife(seconds: number, happen: () => void): void {
    const life = this.#life;
    this.#world.time.after(seconds, () => {
      if (life === this.#life) happen();
    });
  }
}
