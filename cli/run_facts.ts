/** What decides what a run computes, by name, so that a run which cannot go on from a state is told how they differ. */
import { cut, inOneLine, some } from "../model/untrusted.ts";
import { hash } from "./identity.ts";

export type RunFacts = Readonly<Record<string, string>>;

/** A value is shown as it is up to this length; of a longer one only a hash is kept. */
const SHOWN = 48;

/** Leaves of an object by their path, such as recipe.lr. Objects in a list, such as the cells of a sweep, are taken together. */
export function factsOf(parts: object): RunFacts {
  const values = new Map<string, Set<string>>();
  const add = (value: unknown, path: string): void => {
    const objects = Array.isArray(value) && value.some((one) => typeof one === "object" && one !== null);
    if (objects) {
      add(value.length, `${path}.length`);
      for (const one of value as unknown[]) add(one, path);
    } else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      for (const [key, one] of Object.entries(value)) add(one, path === "" ? key : `${path}.${key}`);
    } else {
      const found = values.get(path) ?? new Set();
      values.set(path, found.add(JSON.stringify(value) ?? "null"));
    }
  };
  add(JSON.parse(JSON.stringify(parts)), "");
  return Object.fromEntries([...values].map(([path, found]) => [path, short([...found].join())]));
}

const short = (text: string): string => (text.length <= SHOWN ? text : `#${hash(text).slice(0, 16)}`);

/** What a user calls a fact, where that is not the flag of its name: the first that its path begins with. */
const called: readonly (readonly [path: string, name: string])[] = [
  ["version", "the version of templora"],
  ["command", "the command"],
  ["model.config", "the model, --extend or --attention"],
  ["cells.config", "the model, --extend, --attention or --method"],
  ["cells.length", "the number of cells"],
  ["model", "the model"],
  ["text", "the text or --max-tokens"],
  ["ids", "the text or the prompt"],
  ["read", "--read"],
  ["adapter", "--load-adapter"],
  ["stopIds", "--stop-at-eos"],
  ["banIds", "--stop-at-eos"],
  ["templora", "--no-templora"],
  ["baseline", "--no-baseline"],
  ["size", "--window"],
];

function nameOf(path: string): string {
  const known = called.find(
    ([start]) => path === start || path.startsWith(`${start}.`) || path === `${start}s`,
  );
  const last = path.split(".").at(-1) ?? "";
  return known?.[1] ?? `--${last.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`).replaceAll("_", "-")}`;
}

/** In words, what of `there` is otherwise `here`. */
export function differences(here: RunFacts, there: RunFacts): string[] {
  const found = new Map<string, string>();
  for (const path of new Set([...Object.keys(here), ...Object.keys(there)])) {
    const [own, other] = [here[path], there[path]];
    const name = nameOf(path);
    if (own === other || found.has(name)) continue;
    const shown = own !== undefined && other !== undefined && !`${own}${other}`.includes("#");
    const words =
      name.startsWith("--no-") || !shown ? `${name} differs` : `${name} is ${other} there and ${own} here`;
    found.set(name, cut(inOneLine(words), 120));
  }
  return [...found.values()];
}

/** The same as one clause; nothing where nothing is known of the other run. */
export const inWords = (here: RunFacts, there: RunFacts | undefined): string =>
  there ? some(differences(here, there)) : "";

/** Whether two runs are of one command, on one model and one text: then they differ in options. */
export const sameWork = (here: RunFacts, there: RunFacts): boolean =>
  Object.keys(here)
    .filter((path) => /^(command|model\.(weights|pieces)|texts?|ids|prompt)$/.test(path))
    .every((path) => here[path] === there[path]);
