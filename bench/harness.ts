/**
 * How everything in bench/ is timed: all candidates of a comparison in turn, round after round, so that a slow minute of
 * the machine affects all of them alike; medians with their spread.
 */
export interface Candidate {
  readonly name: string;
  /** One run; asynchronous work must be done when it resolves. */
  run(): void | Promise<void>;
  /** Arithmetic operations and bytes of one run, where rates make sense. */
  readonly flops?: number;
  readonly bytes?: number;
}

export interface Timing {
  readonly name: string;
  /** Milliseconds of one run: the median over rounds, and its quartiles. */
  readonly ms: number;
  readonly lower: number;
  readonly upper: number;
  readonly rounds: number;
  readonly gflops?: number;
  readonly gbps?: number;
}

export interface MeasureOptions {
  /** Times each candidate is sampled (default 9). */
  readonly rounds?: number;
  /** About how long one sample repeats a candidate (default 30 ms). */
  readonly sampleMs?: number;
  /** How long each candidate runs before it is timed: for compilers, memory and pipelines (default 60 ms). */
  readonly warmUpMs?: number;
  /** Called with the share that is done, from 0 to 1; an error that it throws ends the measurement. */
  readonly onProgress?: (fraction: number) => void;
}

/** Times the candidates, in their order. */
export async function measure(
  candidates: readonly Candidate[],
  options: MeasureOptions = {},
): Promise<Timing[]> {
  const { rounds = 9, sampleMs = 30, warmUpMs = 60, onProgress } = options;
  const steps = candidates.length * (rounds + 1);
  let done = 0;
  const step = async (): Promise<void> => {
    onProgress?.(done++ / steps);
    if (onProgress) await new Promise((resume) => setImmediate(resume)); // the cpu device blocks the event loop, and signals with it
  };
  const plans = [];
  for (const candidate of candidates) {
    await step();
    const start = performance.now();
    let runs = 0;
    do {
      await candidate.run();
      runs++;
    } while (performance.now() - start < warmUpMs);
    const once = await sample(candidate, Math.ceil(runs / 4));
    plans.push({ candidate, repeats: Math.max(1, Math.round(sampleMs / once)), samples: [] as number[] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { candidate, repeats, samples } of plans) {
      await step();
      samples.push(await sample(candidate, repeats));
    }
  }
  return plans.map(({ candidate, samples }) => timingOf(candidate, samples));
}

async function sample(candidate: Candidate, repeats: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) {
    const running = candidate.run();
    if (running) await running;
  }
  return (performance.now() - start) / repeats;
}

/** Samples in milliseconds as a timing: their median and quartiles, and the rates at the median. */
export function timingOf(
  { name, flops = 0, bytes = 0 }: Omit<Candidate, "run">,
  milliseconds: readonly number[],
): Timing {
  const ms = quantile(milliseconds, 0.5);
  return {
    name,
    ms,
    lower: quantile(milliseconds, 0.25),
    upper: quantile(milliseconds, 0.75),
    rounds: milliseconds.length,
    ...(flops > 0 && { gflops: flops / ms / 1e6 }),
    ...(bytes > 0 && { gbps: bytes / ms / 1e6 }),
  };
}

/** The q-quantile, 0 ≤ q ≤ 1, linear between the two nearest samples; NaN without samples. */
export function quantile(numbers: readonly number[], q: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)] ?? NaN, sorted[Math.ceil(at)] ?? NaN];
  return below + (above - below) * (at % 1);
}

export const median = (numbers: readonly number[]): number => quantile(numbers, 0.5);

/** The timing of that name. */
export function find(timings: readonly Timing[], name: string): Timing {
  const found = timings.find((t) => t.name === name);
  if (!found) throw new RangeError(`no timing named ${name}`);
  return found;
}
