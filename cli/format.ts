/** Numbers and tables for people, in fixed English forms, so that logs from different machines can be compared. */

const integers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 1234567 → "1,234,567". */
export const count = (n: number): string => integers.format(n);

/** "1 task", "2,000 tasks". */
export const counted = (n: number, thing: string): string => `${count(n)} ${thing}${n === 1 ? "" : "s"}`;

/** A text of other people's without the control characters, which would steer a terminal or break a line. */
export const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, "\ufffd");

/** Perplexities and the like: five significant digits, nothing as 0, null as a dash. */
export function figure(x: number | null): string {
  if (x === null) return "-";
  if (x === 0) return "0";
  return x >= 10_000 || x < 0.001 ? x.toExponential(3) : x.toPrecision(5);
}

/** −3.2 as "-3.20 %"; positive numbers get a +, null is a dash. */
export const percent = (x: number | null): string =>
  x === null ? "-" : `${x > 0 ? "+" : ""}${x < 1e6 ? x.toFixed(2) : x.toExponential(2)} %`;

/** Relative change from a to b in percent; null where one is missing or infinite. */
export function change(a: number | null, b: number | null): number | null {
  const percent = 100 * ((b ?? NaN) / (a ?? NaN) - 1);
  return Number.isFinite(percent) ? percent : null;
}

/** 75 → "1:15", 4000 → "1:06:40". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const whole = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A rate with the digits that matter: 0.42, 6.1, 123. */
export const rate = (x: number): string => (x >= 100 ? count(x) : x >= 1 ? x.toFixed(1) : x.toFixed(2));

/** Bytes as MiB or GiB. */
export function bytes(n: number): string {
  return n >= 2 ** 30
    ? `${(n / 2 ** 30).toFixed(2)} GiB`
    : `${(n / 2 ** 20).toFixed(n < 10 * 2 ** 20 ? 1 : 0)} MiB`;
}

/** Values as bars from zero (or the least, where that is below) to the largest: ▁▃▆█. More than `width` of them are averaged. */
export function sparkline(values: readonly number[], width: number): string {
  const columns = Math.min(width, values.length);
  const means = Array.from({ length: columns }, (_, i) => {
    const part = values.slice(
      Math.floor((i * values.length) / columns),
      Math.floor(((i + 1) * values.length) / columns),
    );
    return part.reduce((sum, x) => sum + x, 0) / part.length;
  });
  const [low, high] = [Math.min(0, ...means), Math.max(0, ...means)];
  const height = (x: number): number => (high > low ? Math.round((7 * (x - low)) / (high - low)) : 0);
  return means.map((x) => "▁▂▃▄▅▆▇█"[height(x)] ?? " ").join("");
}

/** Rows as aligned columns: the first left, the others right. */
export function table(texts: readonly (readonly string[])[]): string {
  const rows = texts.map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ");
  return rows.map((row) => `${line(row).trimEnd()}\n`).join("");
}

/** One cell of a streamed table, where widths must be known before the rows are. */
export const cells = (values: readonly string[], widths: readonly number[]): string =>
  values.map((value, i) => value.padStart(widths[i] ?? 0)).join("  ");

/** What tables call a model that learns as a recipe's `adapt` says. */
export const learnerName = (adapt: unknown): string =>
  typeof adapt === "string" && adapt !== "lora" ? `dynamic, ${adapt}` : "Temp-LoRA";
