/** Results of a store as one table. */
import { change, count, figure, percent, table } from "../format.ts";
import { getResult, resultsIn } from "./ledger.ts";
import type { Store } from "./store.ts";
import type { Task } from "./tasks.ts";

export interface Result {
  readonly key: string;
  readonly text: string;
  readonly model: string;
  readonly flags: Task["flags"];
  readonly tokens: number;
  readonly base_ppl: number | null;
  readonly lora_ppl: number | null;
  /** The devices and builds that it was computed on; more than one: its last digits are no single machine's. */
  readonly numerics: readonly string[];
}

export async function readResults(store: Store): Promise<Result[]> {
  const results: Result[] = [];
  for (const key of await resultsIn(store)) {
    const text = await getResult(store, key);
    if (text !== null) results.push(resultOf(text));
  }
  const name = ({ model, text, flags }: Result): string => `${model}\n${text}\n${JSON.stringify(flags)}`;
  return results.sort((a, b) => (name(a) < name(b) ? -1 : 1));
}

type Line = Readonly<Record<string, unknown>> & { readonly type: string };

function resultOf(text: string): Result {
  const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line) as Line); // prettier-ignore
  const of = <T>(type: string): T => lines.find((line) => line.type === type) as T;
  const task = of<Task>("task");
  const config = of<{ device: string; adapter_info: { build?: string }; begun_under?: object }>("config");
  const { tokens, base_ppl, lora_ppl } = of<Pick<Result, "tokens" | "base_ppl" | "lora_ppl">>("summary");
  const { device, adapter_info, begun_under } = config;
  const last = [device, adapter_info.build].filter((word) => word !== undefined).join(" ");
  const { device: first = "", build = "" } = (begun_under ?? {}) as { device?: string; build?: string };
  return {
    ...{ key: task.key, text: task.text.name, model: task.model.name, flags: task.flags },
    ...{ tokens, base_ppl, lora_ppl },
    numerics: begun_under ? [`${first} ${build}`.trim(), last] : [last],
  };
}

/** The flags whose values tell some of these from others: each has a column. */
export function differing(all: readonly Task["flags"][]): readonly string[] {
  const names = [...new Set(all.flatMap((flags) => Object.keys(flags)))];
  return names.filter((name) => new Set(all.map((flags) => String(flags[name]))).size > 1);
}

/** The first characters of a key, by which users name a task. */
export const shortKey = (key: string): string => key.slice(0, 12);

/** What of the flags differs between results stands in a column; the others are the same for all. */
export function resultsTable(results: readonly Result[]): string {
  const told = differing(results.map(({ flags }) => flags));
  const models = new Set(results.map(({ model }) => model)).size > 1;
  const rows = results.map((r) => [
    r.text,
    ...(models ? [r.model] : []),
    ...told.map((name) => String(r.flags[name] ?? "")),
    ...[count(r.tokens), figure(r.base_ppl), figure(r.lora_ppl), percent(change(r.base_ppl, r.lora_ppl))],
    ...[r.numerics.join(" → "), shortKey(r.key)],
  ]);
  const titles = ["tokens", "base ppl", "adapted", "change", "computed on", "task"];
  return table([["text", ...(models ? ["model"] : []), ...told, ...titles], ...rows]);
}
