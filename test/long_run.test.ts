/**
 * A long run on a small scale: what `npm run long-run` holds over 10⁶ tokens, memory and state among it, over a few thousand. Times are
 * for that one to judge.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { longText } from "../scripts/long_run/text.ts";
import { type Tenth, watch } from "../scripts/long_run/watch.ts";
import { at } from "../kernels/base/at.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const folder = temporaryFolder();
process.env["TEMPLORA_CACHE"] = folder;
const golden = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
const book = join(folder, "book.txt");
const CHUNK = 32;
const common = ["--model", golden("tiny-tied"), "--device", "cpu", "--threads", "1", "--recipe", "tuned", "--rank", "4", "--chunk", String(CHUNK), "--window", "64"]; // prettier-ignore

async function tenths(tokens: number, argv: readonly string[]): Promise<readonly Tenth[]> {
  const { code, said, tenths, notFinite } = await watch(
    [...argv, ...common, "--state", join(folder, `${argv[0] ?? ""}.state`)],
    tokens,
  );
  assert.is(code, 0, said);
  assert.is(notFinite, 0);
  assert.is(tenths.length, 10);
  return tenths;
}

/** From the second tenth on the same, but for ids, which of them were written, and the records. */
function flat(found: readonly Tenth[]): void {
  for (const one of found.slice(2)) {
    const { liveBuffers, liveBytes, tokens, stateBytes } = one;
    const second = at(found, 1);
    assert.equal([liveBuffers, liveBytes], [second.liveBuffers, second.liveBytes], `at token ${tokens}`);
    const grown = stateBytes - at(found, 2).stateBytes; // the second has none yet, or that of the first
    const RECORD = 1024;
    assert.ok(
      grown <= (tokens - at(found, 2).tokens + CHUNK) * (8 + RECORD / CHUNK),
      `${grown} bytes at ${tokens}`,
    );
  }
}

test("reading: live buffers and the state without its text are flat, every figure is finite", async () => {
  const tokens = 4000;
  writeFileSync(book, longText(readFileSync(golden("moby-dick-excerpt.txt"), "utf8"), tokens));
  flat(await tenths(tokens, ["ppl", book, "--max-tokens", String(tokens)]));
});

test("writing: the same, where the model learns its own text", async () => {
  const tokens = 1280;
  const more = String(tokens + CHUNK);
  flat(
    await tenths(tokens, [
      "generate",
      "--prompt",
      "Call me",
      "--temperature",
      "1",
      "--reuse-cache",
      "0",
      "--tokens",
      more,
    ]),
  );
});

test.run();
