/** What `templora ppl` shows of the texts that it reads: the columns of a chunk's line, and the closing table. */
import type { Device } from "../engine/device.ts";
import type { Bucket, Buckets } from "../templora/buckets.ts";
import type { ChunkRecord, Perplexities, Spent } from "../templora/records.ts";
import type { RecordSink } from "./files.ts";
import { bytes, change, count, duration, figure, percent, rate, table } from "./format.ts";
import type { Terminal } from "./output.ts";
import { peakBytes, perToken, summaryRecord, tokensPerSecond } from "./session.ts";

/** Which models read. */
export interface Sides {
  readonly baseline: boolean;
  readonly templora: boolean;
}

interface Shown {
  readonly terminal: Terminal;
  readonly records: Pick<RecordSink, "write">;
  readonly options: Sides;
}

/** The columns of a chunk's line. */
export function chunkColumns({
  baseline,
  templora,
}: Sides): { title: string; width: number; cell: (r: ChunkRecord) => string }[] {
  const perplexity = (nll: number | null, { tokens }: ChunkRecord): number | null =>
    nll === null || tokens === 0 ? null : Math.exp(nll / tokens);
  const seconds = ({ seconds: s }: ChunkRecord): number => s.base + s.score + s.train;
  return [
    { title: "chunk", width: 6, cell: (r) => String(r.index) },
    { title: "tokens", width: 7, cell: (r) => count(r.tokens) },
    { title: "context", width: 7, cell: (r) => count(r.context) },
    ...(baseline
      ? [{ title: "base ppl", width: 9, cell: (r: ChunkRecord) => figure(perplexity(r.base_nll, r)) }]
      : []),
    ...(templora
      ? [{ title: "adapted", width: 9, cell: (r: ChunkRecord) => figure(perplexity(r.lora_nll, r)) }]
      : []),
    ...(baseline && templora
      ? [
          {
            title: "change",
            width: 9,
            cell: (r: ChunkRecord) => percent(change(perplexity(r.base_nll, r), perplexity(r.lora_nll, r))),
          },
        ]
      : []),
    ...(templora
      ? [
          { title: "lr", width: 8, cell: (r: ChunkRecord) => (r.lr === 0 ? "0" : r.lr.toExponential(1)) },
          { title: "training loss", width: 15, cell: (r: ChunkRecord) => lossRange(r.train_loss) },
        ]
      : []),
    { title: "seconds", width: 8, cell: (r) => seconds(r).toFixed(seconds(r) < 10 ? 2 : 1) },
  ];
}

/** The first loss and the last, with three decimals. */
function lossRange(losses: readonly number[]): string {
  const [first, last] = [losses[0], losses.at(-1)];
  if (first === undefined || last === undefined) return "-";
  return losses.length === 1 ? first.toFixed(3) : `${first.toFixed(3)} → ${last.toFixed(3)}`;
}

/** The closing table of a text, or of all of them. */
export function showTotals(
  title: string,
  text: string | null,
  p: Perplexities,
  device: Device,
  { terminal, records, options }: Shown,
  buckets: Readonly<Record<string, Buckets>>,
): void {
  // one bucket would say what is said of the whole
  const several = Object.entries(buckets).flatMap(([by, { filled }]): [string, readonly Bucket[]][] =>
    filled.length > 1 ? [[by, filled]] : [],
  );
  records.write({ ...summaryRecord(text, p, device), ...Object.fromEntries(several) });
  const both = options.baseline && options.templora;
  const row = (label: string, base: number | null, lora: number | null): string[] => [
    label,
    ...(options.baseline ? [figure(base)] : []),
    ...(options.templora ? [figure(lora)] : []),
    ...(both ? [percent(change(base, lora))] : []),
  ];
  const head = [
    title,
    ...(options.baseline ? ["base"] : []),
    ...(options.templora ? ["adapted"] : []),
    ...(both ? ["change"] : []),
  ];
  const [heading = "", exact = "", mean = ""] = table([
    head,
    row("perplexity, exp(NLL / tokens)", p.base_ppl, p.lora_ppl),
    row("mean of chunk perplexities", p.base_mean_chunk_ppl, p.lora_mean_chunk_ppl),
  ]).split("\n");
  const colour = (p.reduction_percent ?? 0) < 0 ? "red" : "green";
  const peak = peakBytes(device);
  const speed = tokensPerSecond(p);
  terminal.result(
    `\n${terminal.style(heading, "bold")}\n${both ? terminal.style(exact, colour) : exact}\n${mean}\n` +
      `${count(p.tokens)} tokens scored in ${duration(p.tokens / speed)}, ${rate(speed)} tokens/s; ` +
      `peak memory ${bytes(peak.host)} host, ${bytes(peak.device)} device\n${undone(p)}${costs(p, options)}\n`,
  );
  if (both && p.base_ppl === p.lora_ppl && Number.isFinite(p.base_ppl))
    terminal.note(
      "the adapter changed nothing: the first chunk is read before anything is learnt, and with --warmup the learning rate begins at 0, " +
        "so a short text needs a smaller --chunk; --skip-below and --learn-below may have left nothing to learn",
    );
  for (const [by, filled] of several) {
    const rows = filled.map((b) => [...row(range(b), b.base_ppl, b.lora_ppl), count(b.tokens)]);
    terminal.result(`${table([[by.replace("_", " "), ...head.slice(1), "tokens"], ...rows])}\n`);
  }
}

/** How many updates were undone, where some were. */
function undone({ undone_updates: n = 0 }: Perplexities): string {
  return n > 0 ? `updates undone by --guard: ${count(n)}\n` : "";
}

/** What a token costs, inference (base, adapted) and update apart. */
function costs(p: Perplexities, { baseline, templora }: Sides): string {
  const all = [
    ["base", "base", baseline],
    ["adapted", "score", templora],
    ["update", "train", templora],
  ] as const;
  const columns = all.filter(([, , shown]) => shown);
  const row = (title: string, amount: keyof Spent, unit: number): string[] => {
    const each = perToken(p, amount);
    return [title, ...columns.map(([, what]) => figure(each[what] / unit))];
  };
  return table([
    ["cost of a token", ...columns.map(([title]) => title)],
    row("arithmetic, GFLOP", "flops", 1e9),
    row("memory traffic, MB", "bytes", 1e6),
    row("time, ms", "seconds", 1e-3),
  ]);
}

const range = ({ from, to }: Bucket): string => `${count(from)} to ${to === null ? "the end" : count(to)}`;
