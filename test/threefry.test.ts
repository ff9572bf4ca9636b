/** The generator's words against Random123's known answers and the project's own streams (test/golden/threefry.json). */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { uniforms } from "../engine/random.ts";
import { threefry2x32 } from "../kernels/shared/threefry.ts";

interface Golden {
  readonly known_answers: readonly {
    readonly counter: readonly [number, number];
    readonly key: readonly [number, number];
    readonly result: readonly [number, number];
  }[];
  readonly streams: readonly {
    readonly seed: number;
    readonly stream: number;
    readonly step: number;
    readonly i: number;
    readonly word: number;
    readonly unit: number;
  }[];
}
const golden = JSON.parse(readFileSync(new URL("golden/threefry.json", import.meta.url), "utf8")) as Golden;

test("Threefry-2x32-20 gives Random123's known answers", () => {
  for (const { key, counter, result } of golden.known_answers) {
    assert.equal(threefry2x32(...key, ...counter), result);
  }
});

test("words and uniform values of streams", () => {
  for (const { seed, stream, step, i, word, unit } of golden.streams) {
    assert.is(threefry2x32(seed, stream, i >>> 1, step)[i & 1], word);
    assert.is(uniforms(seed, stream, step, i + 1)[i], unit);
  }
});

test.run();
