/** Changes a JSON text so that it stays one: keys and values come, go, move, and become what they should not be. */
import { EXTREMES, type Material, NASTY } from "./mutate_bytes.ts";
import type { Random } from "./random.ts";

type Container = unknown[] | Record<string, unknown>;

const isContainer = (value: unknown): value is Container => typeof value === "object" && value !== null;

/** Every place of a value in `value`, which is in a list of its own. */
function places(
  holder: Container,
  found: (readonly [Container, string])[] = [],
): (readonly [Container, string])[] {
  for (const key of Object.keys(holder)) {
    if (found.length > 5000) break;
    found.push([holder, key]);
    const value = (holder as Record<string, unknown>)[key];
    if (isContainer(value)) places(value, found);
  }
  return found;
}

function scalar({ random, words }: Material): unknown {
  const pick: readonly (() => unknown)[] = [
    () => null,
    () => random.once(2),
    () => Number(random.of(EXTREMES)) * (random.once(4) ? -1 : 1),
    () => random.of([0.5, -0.5, 1e-300, 1e300, 1e-45, 1.5, 3.4e38, 3.5e38]),
    () => random.below(16),
    () => random.of(NASTY),
    () => (words.length > 0 ? random.of(words) : ""),
    () => random.of(NASTY).repeat(1 + random.below(random.once(8) ? 2000 : 3)),
    () => [],
    () => ({}),
  ];
  return random.of(pick)();
}

const nested = (random: Random): unknown => {
  let value: unknown = [];
  const depth = random.once(20) ? 5000 : random.below(8);
  for (let i = 0; i < depth; i++) value = random.once(2) ? [value] : { a: value };
  return value;
};

const set = (holder: Container, key: string, value: unknown): void =>
  void Object.defineProperty(holder, key, { value, enumerable: true, writable: true, configurable: true });

type Operator = (place: readonly [Container, string], material: Material, donors: () => unknown) => void;

const operators: readonly Operator[] = [
  ([holder, key], material) => set(holder, key, scalar(material)),
  ([holder, key], { random }) => set(holder, key, nested(random)),
  ([holder, key], _, donor) => set(holder, key, donor()),
  ([holder, key]) => (Array.isArray(holder) ? void holder.splice(Number(key), 1) : void delete holder[key]),
  function more([holder, key], { random }) {
    const value = (holder as Record<string, unknown>)[key];
    // few of what is long: copies of copies would be without end
    const most = Math.ceil(2 ** 14 / (1 + (JSON.stringify(value) ?? "").length));
    const times = Math.min(most, random.once(8) ? 300 : 1 + random.below(3));
    if (Array.isArray(holder)) holder.splice(Number(key), 0, ...Array<unknown>(times).fill(value));
    else set(holder, `${key}${random.below(10)}`, value);
  },
  function renamed([holder, key], { random, words }) {
    const value = (holder as Record<string, unknown>)[key];
    if (Array.isArray(holder)) return;
    delete holder[key];
    set(holder, random.once(4) || words.length === 0 ? random.of(NASTY) : random.of(words), value);
  },
  function added([holder], material) {
    const { random, words } = material;
    if (Array.isArray(holder)) holder.push(scalar(material));
    else if (words.length > 0) set(holder, random.of(words), scalar(material));
  },
  function tweaked([holder, key], material) {
    const { random } = material;
    const value = (holder as Record<string, unknown>)[key];
    if (typeof value === "number")
      set(holder, key, random.of([value + 1, value - 1, -value, value * 2, value / 2]));
    else if (typeof value === "boolean") set(holder, key, !value);
    else if (typeof value === "string") {
      const at = random.below(value.length + 1);
      const text = random.once(2)
        ? random.of(NASTY)
        : random.of(material.words.length > 0 ? material.words : NASTY);
      set(holder, key, value.slice(0, at) + text + value.slice(random.once(2) ? at : at + 1));
    } else set(holder, key, scalar(material));
  },
];

function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}

/** Another text, or null where `text` is no JSON. */
export function mutateJson(text: string, material: Material): string | null {
  const { random } = material;
  const value = parsed(text);
  if (value === undefined) return null;
  const top: Container = [value];
  const donor = (): unknown => {
    const [holder, key] = random.of(
      places([parsed(Buffer.from(material.other()).toString()) ?? parsed(text)]),
    );
    return (holder as Record<string, unknown>)[key];
  };
  try {
    for (let left = 1 + (random.once(3) ? random.below(5) : 0); left > 0; left--) {
      const all = places(top);
      if (all.length > 0) random.of(operators)(random.of(all), material, donor);
    }
    return JSON.stringify(top[0] ?? null);
  } catch (error) {
    if (error instanceof RangeError) return null; // nested too deeply
    throw error;
  }
}
