/**
 * What templora reads from files and from the hub, fuzzed: every input of test/fuzz/corpus and test/fuzz/faults, and a second of new ones for each
 * reader (`npm run fuzz` takes longer). Faults that are planted prove that the fuzzer finds and tells each kind.
 */
import fs, { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { weightDTypes } from "../kernels/formats/index.ts";
import { families } from "../model/families/index.ts";
import { InputFile } from "../model/file.ts";
import { readGgufIndex } from "../model/gguf.ts";
import { bundle } from "../scripts/fuzz/bundle.ts";
import { COUNTERS } from "../scripts/fuzz/counters.ts";
import { filesOf, inputOf } from "../scripts/fuzz/files.ts";
import { allowOnly, executed, trespasses, watched } from "../scripts/fuzz/guard.ts";
import { instrument } from "../scripts/fuzz/instrument.ts";
import { mutate } from "../scripts/fuzz/mutate.ts";
import { Random } from "../scripts/fuzz/random.ts";
import { type Kind, LIMITS } from "../scripts/fuzz/target.ts";
import { targets } from "../scripts/fuzz/targets/index.ts";
import { type Found, watch } from "../scripts/fuzz/watch.ts";
import { temporaryFolder } from "./support/model_files.ts";
import { SEED } from "./support/rng.ts";

const SECONDS = 1;
const folder = temporaryFolder();
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const corpus = (name: string): string => here(`fuzz/corpus/${name}`);
const inFolder = (path: string): string[] => (existsSync(path) ? readdirSync(path) : []);

const made = join(folder, "program");
mkdirSync(made);
const program = await bundle(made);

for (const name of Object.keys(targets))
  test(`${name}: nothing but BadInputError, whatever is in it; seed ${SEED}`, async () => {
    const folders = [corpus(name), here(`fuzz/faults/${name}`)];
    const asked = { target: name, seed: SEED, seconds: SECONDS, inputs: 2 ** 40, limits: LIMITS };
    const { loaded, faults } = await watch(program, { ...asked, corpus: [...folders, join(folder, name)] });
    const said = ({ kind, what, input }: Found): string => `${kind}: ${what}: ${JSON.stringify(input.toString("latin1").slice(0, 300))}`; // prettier-ignore
    assert.equal(faults.map(said), []);
    assert.is(loaded, folders.flatMap(inFolder).length);
  });

test("the corpus has every architecture, type of metadata and format of weights, and all are read", async () => {
  const index = async (name: string): Promise<ReturnType<typeof readGgufIndex>> => {
    const file = await InputFile.open(join(corpus("gguf"), name));
    try {
      return await readGgufIndex(file);
    } finally {
      await file.close();
    }
  };
  for (const { architecture } of families)
    if (architecture !== null)
      assert.is((await index(architecture)).metadata.get("general.architecture"), architecture);
  const { metadata } = await index("types");
  for (const type of [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]) {
    const value = type === 7 ? true : type === 8 ? "1" : 1;
    assert.is(metadata.get(`test.scalar${type}`), value);
    assert.is((metadata.get(`test.list${type}`) as readonly unknown[])[0], value);
  }
  const { tensors } = await index("formats");
  assert.equal(tensors.map(({ dtype }) => dtype).sort(), [...weightDTypes].sort());
});

// prettier-ignore
const planted: readonly [begins: string, kind: Kind, what: RegExp][] = [
  ["te", "error", /^TypeError: /],
  ["lo", "hang", /^no end within 0\.3 s$/],
  ["wa", "hang", /^no end within 0\.3 s$/],
  ["me", "memory", /^1[01]\d{8} bytes for an input of \d+$/],
  ["pa", "trespass", /^readFileSync of a path outside of the folder: .*\/x/],
  ["ex", "trespass", /^a program is started: true$/],
  ["cc", "message", /^control characters: a bell/],
  ["si", "message", /^2000 characters: x+$/],
  ["op", "prototype", /^Object\.prototype has polluted$/],
];
const place = join(folder, "planted");
const seeds = join(folder, "planted-seeds");
for (const path of [place, seeds]) mkdirSync(path);
writeFileSync(join(seeds, "one"), "nothing of note");
const wrapper = await bundle(place, here("support/planted_target.ts"));
for (const [begins, kind, what] of planted)
  test(`a planted fault is found: ${kind}, at ${begins}`, async () => {
    const limits = { ...LIMITS, seconds: 0.3 };
    const asked = { target: begins, seed: SEED, seconds: 60, inputs: 2 ** 40, most: 1, limits };
    const { faults } = await watch(wrapper, { ...asked, corpus: [seeds, join(folder, "kept", begins)] });
    const [fault] = faults;
    assert.is(fault?.kind, kind);
    assert.match(fault?.what ?? "", what);
    assert.is(fault?.input.toString("latin1", 0, 2), begins);
  });

test("names and links that lead out of the folder are refused and noted, programs not started", () => {
  const [outside, inside] = [join(folder, "guard"), join(folder, "guard/inside")];
  mkdirSync(inside, { recursive: true });
  writeFileSync(join(outside, "x"), "secret");
  fs.symlinkSync("../x", join(inside, "out"));
  fs.symlinkSync("../none", join(inside, "nowhere"));
  fs.symlinkSync("..", join(inside, "up"));
  allowOnly(inside);
  const watchedIn = (
    name: "readFileSync" | "symlinkSync" | "renameSync" | "writeFileSync",
    ...args: string[]
  ): unknown => (watched(name, fs[name]) as (...args: string[]) => unknown)(...args);
  watchedIn("writeFileSync", join(inside, "a"), "a");
  watchedIn("symlinkSync", "a", join(inside, "b"));
  assert.is(String(watchedIn("readFileSync", join(inside, "b"))), "a");
  assert.equal(trespasses, []);
  for (const attempt of [
    () => watchedIn("readFileSync", join(inside, "../x")),
    () => watchedIn("readFileSync", join(inside, "out")),
    () => watchedIn("readFileSync", `${inside}x`),
    () => watchedIn("writeFileSync", join(inside, "nowhere"), ""),
    () => watchedIn("writeFileSync", join(inside, "up/new"), ""),
    () => watchedIn("symlinkSync", "../x", join(inside, "c")),
    () => watchedIn("renameSync", join(inside, "a"), join(outside, "a")),
    () => executed("true"),
  ])
    assert.throws(attempt, /^EPERM/);
  assert.is(trespasses.splice(0).length, 8);
});

test("a module that counts does what it did, and tells its branches apart", () => {
  const source = `
    const pick = (a: number, b?: number): string => (a > 1 ? "many" : a === 1 ? "one" : "none") + (b ?? 7);
    export function all(n: number): unknown[] {
      const out: unknown[] = [];
      for (let i = 0; i < n; i++) if (i % 2) out.push(pick(i)); else out.push(i && pick(i, i));
      switch (n) { case 3: out.push("three"); break; default: out.push("other"); }
      do n--; while (n > 0);
      return out;
    }`;
  const { code, next } = instrument(source, "one.ts", 3);
  const run = (text: string, n: number): { out: unknown; counts: number[] } => {
    const counters = new Uint32Array(100);
    const js = ts.transpile(text, { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 });
    const exports: { all?: (n: number) => unknown } = {};
    type Run = (exports: object, counters: Uint32Array) => void;
    // eslint-disable-next-line @typescript-eslint/no-implied-eval
    (new Function("exports", COUNTERS, js) as Run)(exports, counters);
    return { out: exports.all?.(n), counts: [...counters.subarray(3, next)] };
  };
  for (const n of [0, 3, 4]) assert.equal(run(code, n).out, run(source, n).out);
  assert.not.equal(run(code, 3).counts, run(code, 4).counts);
  assert.ok(next > 12 && run(code, 4).counts.some((count) => count > 1));
});

test("inputs of several files come apart as they were put together; the same seed makes the same inputs", () => {
  const files = [["a.json", '{"a":1}'], ["b", "\n--\n"], ["c", ""]] as const; // prettier-ignore
  const input = inputOf(files);
  assert.equal([...filesOf(input, "x")].map(([name, bytes]) => [name, bytes.toString()]), files.map((pair) => [...pair])); // prettier-ignore
  assert.equal([...filesOf(Buffer.from("plain"), "x").keys()], ["x"]);
  const series = (seed: number): string[] => {
    const material = { random: new Random(seed), words: ["rope", "shape"], other: () => input };
    return Array.from({ length: 200 }, () => mutate(input, material).toString("latin1"));
  };
  assert.equal(series(1), series(1));
  assert.not.equal(series(1), series(2));
});

test.run();
